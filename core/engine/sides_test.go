package engine_test

import (
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestSidesByProtocol picks connections up in mid-stream whose ports reveal nothing, or the
// wrong client: the payload of either side determines the client, whichever is seen first.
func TestSidesByProtocol(t *testing.T) {
	request, answer := "*1\r\n$6\r\nDBSIZE\r\n", "$5\r\nhello\r\n"
	tests := []struct {
		name         string
		cport, sport uint16
		first        int
		talk         [2]string
		app          app.ID
	}{
		{"http, request first", 40000, 60000, 0, [2]string{httpRequest, httpAnswer}, app.HTTP},
		{"http, answer first", 40000, 60000, 1, [2]string{httpRequest, httpAnswer}, app.HTTP},
		{"http, client with the lower port", 900, 50051, 0, [2]string{httpRequest, httpAnswer}, app.HTTP},
		{"http, as the ports suggest", 60000, 40000, 1, [2]string{httpRequest, httpAnswer}, app.HTTP},
		{"redis, command first", 40000, 60000, 0, [2]string{request, answer}, app.Redis},
		{"redis, answer first", 40000, 60000, 1, [2]string{request, answer}, app.Redis},
	}
	families(t, func(t *testing.T, v6 bool) {
		for _, tt := range tests {
			b := newBench(t)
			b.policy(1, policy.Discover, policy.WorkloadSpec{})
			q := b.attach(backend.Tap)
			c := newConn(v6, tt.cport, tt.sport)
			q.give(c.seg(t, tt.first, "PA", tt.talk[tt.first]), c.seg(t, 1-tt.first, "PA", tt.talk[1-tt.first]))
			q.give(c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
			all := b.flows(func(f flow.Record) bool { return f.Kind == flow.End })
			last := all[len(all)-1]
			if app.ID(last.App) != tt.app || last.ClientPort != tt.cport || last.ServerPort != tt.sport || last.Evidence != flow.EvidenceProtocol || last.Dir != packet.Egress {
				t.Errorf("%s: %v from port %d to %d by %v, %v; want %v from %d to %d by protocol, egress", tt.name, app.ID(last.App), last.ClientPort, last.ServerPort,
					last.Evidence, last.Dir, tt.app, tt.cport, tt.sport)
			}
			var packets [2]uint64
			for _, f := range all {
				if f.ClientPort == tt.cport {
					packets[0], packets[1] = packets[0]+f.Packets[0], packets[1]+f.Packets[1]
				} else {
					packets[0], packets[1] = packets[0]+f.Packets[1], packets[1]+f.Packets[0]
				}
			}
			if packets != [2]uint64{3, 2} {
				t.Errorf("%s: packets %v, want [3 2]", tt.name, packets)
			}
		}
	})
}

// TestSidesOfDatagrams begins with a datagram from a well-known port that by protocol is a
// question.
func TestSidesOfDatagrams(t *testing.T) {
	question := "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01"
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Discover, policy.WorkloadSpec{})
		q := b.attach(backend.Tap)
		q.give(frameOf(t, v6, 0, layers.IPProtocolUDP, &layers.UDP{SrcPort: 53, DstPort: 5300}, question))
		all := b.flows(func(f flow.Record) bool { return app.ID(f.App) == app.DNS })
		if last := all[len(all)-1]; last.ClientPort != 53 || last.ServerPort != 5300 || last.Evidence != flow.EvidenceProtocol || last.Dir != packet.Egress {
			t.Errorf("from port %d to %d by %v, %v; want from 53 to 5300 by protocol, egress", last.ClientPort, last.ServerPort, last.Evidence, last.Dir)
		}
	})
}

// TestHandshakeOutranksProtocol has a server send client messages on a connection whose
// handshake was seen.
func TestHandshakeOutranksProtocol(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Discover, policy.WorkloadSpec{})
		q := b.attach(backend.Tap)
		c := newConn(v6, 40000, 8080)
		q.give(c.handshake(t)...)
		q.give(c.seg(t, 1, "PA", httpRequest), c.seg(t, 0, "PA", httpAnswer))
		q.give(c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
		all := b.flows(func(f flow.Record) bool { return f.Kind == flow.End })
		if last := all[len(all)-1]; last.ClientPort != 40000 || last.Evidence != flow.EvidenceHandshake {
			t.Errorf("client port %d by %v, want 40000 by handshake", last.ClientPort, last.Evidence)
		}
	})
}

// TestWithdrawnName has a greeting that names another protocol: the session ends with the
// client's protocol, and its policy.
func TestWithdrawnName(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Monitor, policy.WorkloadSpec{}, allow(7, []policy.PortSpec{{Proto: 6, Lo: 2525, Hi: 2525}}, app.FTP))
		q := b.attach(backend.Tap)
		c := newConn(v6, 40000, 2525)
		q.give(c.handshake(t)...)
		q.give(c.seg(t, 1, "PA", "220 FTP gateway\r\n"))
		q.give(c.seg(t, 0, "PA", "HELO a.example\r\n"), c.seg(t, 1, "PA", "250 ok\r\n"))
		q.give(c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
		all := b.flows(func(f flow.Record) bool { return f.Kind == flow.End })
		if last := all[len(all)-1]; app.ID(last.App) != app.SMTP || last.Strength == 0 || last.Verdict != flow.Violate {
			t.Errorf("%v of strength %d, %v; want smtp, likely, a violation", app.ID(last.App), last.Strength, last.Verdict)
		}
	})
}

// TestAcknowledgedBeforeSeen delivers frames of the two directions in any order in which taps
// may see them.
func TestAcknowledgedBeforeSeen(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, order := range [][]int{{0, 1, 2, 3}, {1, 0, 2, 3}, {2, 0, 1, 3}, {2, 3, 0, 1}, {3, 2, 1, 0}} {
			b := newBench(t)
			b.policy(1, policy.Discover, policy.WorkloadSpec{})
			q := b.attach(backend.Tap)
			c := newConn(v6, 40000, 8080)
			q.give(c.handshake(t)...)
			frames := []packet.Frame{c.seg(t, 0, "PA", httpRequest), c.seg(t, 1, "A", ""), c.seg(t, 1, "PA", httpAnswer), c.seg(t, 0, "A", "")}
			for _, i := range order {
				q.give(frames[i])
			}
			q.give(c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
			all := b.flows(func(f flow.Record) bool { return f.Kind == flow.End })
			host := ""
			for _, f := range all {
				if h := f.Detail.Get("host"); h != "" {
					host = h
				}
			}
			if last := all[len(all)-1]; app.ID(last.App) != app.HTTP || host != "shop.example" {
				t.Errorf("order %v: %v with host %q, want http with shop.example", order, app.ID(last.App), host)
			}
		}
	})
}
