package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

const httpRequest = "GET /index.html HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\n\r\n"
const httpAnswer = "HTTP/1.1 200 OK\r\nServer: test\r\nContent-Length: 2\r\n\r\nok"

// families runs a test for both families.
func families(t *testing.T, fn func(t *testing.T, v6 bool)) {
	t.Run("ipv4", func(t *testing.T) { fn(t, false) })
	t.Run("ipv6", func(t *testing.T) { fn(t, true) })
}

func (c *conn) handshake(t *testing.T) []packet.Frame {
	return []packet.Frame{c.seg(t, 0, "S", ""), c.seg(t, 1, "SA", ""), c.seg(t, 0, "A", "")}
}

func actions(frames []packet.Frame) string {
	var out []string
	for _, f := range frames {
		out = append(out, f.Verdict.Action.String())
	}
	return strings.Join(out, " ")
}

// layersOf decodes a frame with an independent decoder.
func layersOf(t *testing.T, f packet.Frame) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("the engine sent a frame that does not decode: %v", e.Error())
	}
	return p
}

func TestDiscoverLearnsAndNames(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Discover, policy.WorkloadSpec{})
		q := b.attach(backend.Tap)
		c := newConn(v6, 40000, 8080)
		q.give(c.handshake(t)...)
		q.give(c.seg(t, 0, "PA", httpRequest), c.seg(t, 1, "PA", httpAnswer))
		q.give(c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
		all := b.flows(func(f flow.Record) bool { return f.Kind == flow.End })
		last := all[len(all)-1]
		if got, want := app.ID(last.App), app.HTTP; got != want {
			t.Errorf("app %v, want %v", got, want)
		}
		if last.Verdict != flow.Learn || last.ServerPort != 8080 || last.Dir != packet.Egress || last.IPv6 != v6 || last.Phase != flow.PhaseClosed {
			t.Errorf("record %+v: want learn, egress, port 8080, closed", last)
		}
		var packets [2]uint64
		host := ""
		for _, f := range all {
			packets[0] += f.Packets[0]
			packets[1] += f.Packets[1]
			if h := f.Detail.Get("host"); h != "" {
				host = h
			}
		}
		if packets != [2]uint64{5, 3} {
			t.Errorf("packets %v, want [5 3]", packets)
		}
		if host != "shop.example" {
			t.Errorf("host %q, want shop.example", host)
		}
	})
}

func TestProtectRefusesWithResets(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{})
		q := b.attach(backend.Inline)
		c := newConn(v6, 40000, 8080)
		syn := c.seg(t, 0, "S", "")
		if got := actions(q.give(syn)); got != "drop" {
			t.Fatalf("SYN: %s, want drop", got)
		}
		sent := q.takeSent()
		if len(sent) != 1 {
			t.Fatalf("%d frames sent, want one reset", len(sent))
		}
		tcp := layersOf(t, sent[0]).Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !tcp.RST || !tcp.ACK || tcp.Seq != 0 || tcp.Ack != 1001 || tcp.DstPort != 40000 {
			t.Errorf("reset %+v: want RST+ACK, seq 0, ack 1001 to port 40000", tcp)
		}
		if sent[0].Dir != packet.Ingress || sent[0].Endpoint != 1 {
			t.Errorf("reset goes %s on endpoint %d, want ingress on 1", sent[0].Dir, sent[0].Endpoint)
		}
		all := b.flows(func(f flow.Record) bool { return f.Verdict == flow.Deny })
		if all[0].Reason != flow.ByDefault || all[0].Rule != 0 || !all[0].Enforced {
			t.Errorf("record %+v: want the default's, enforced", all[0])
		}
	})
}

func allow(id uint32, ports []policy.PortSpec, apps ...app.ID) policy.RuleSpec {
	return policy.RuleSpec{ID: id, From: 1, To: 2, Ports: ports, Apps: apps}
}

func tcpPort(n uint16) []policy.PortSpec { return []policy.PortSpec{{Proto: 6, Lo: n, Hi: n}} }

func TestProtectPassesWhatARuleAllows(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
		q := b.attach(backend.Inline)
		c := newConn(v6, 40000, 8080)
		if got := actions(q.give(c.handshake(t)...)); got != "pass pass pass" {
			t.Fatalf("handshake: %s", got)
		}
		if got := actions(q.give(c.seg(t, 0, "PA", httpRequest))); got != "pass" {
			t.Errorf("request: %s, want pass", got)
		}
		all := b.flows(func(f flow.Record) bool { return f.Verdict == flow.Allow })
		if got := all[len(all)-1].Rule; got != 7 {
			t.Errorf("rule %d, want 7", got)
		}
	})
}

// The first request of a denied application must not reach the server, in one piece or in
// several.
func TestDeniedApplicationIsHeldBack(t *testing.T) {
	pieces := map[string][]string{
		"whole": {"*1\r\n$4\r\nPING\r\n"},
		"bytes": strings.Split("*1\r\n$4\r\nPING\r\n", ""),
	}
	for name, parts := range pieces {
		t.Run(name, func(t *testing.T) {
			families(t, func(t *testing.T, v6 bool) {
				b := newBench(t)
				b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
				q := b.attach(backend.Inline)
				c := newConn(v6, 40000, 8080)
				q.give(c.handshake(t)...)
				for _, part := range parts {
					if got := actions(q.give(c.seg(t, 0, "PA", part))); got != "drop" {
						t.Fatalf("%q: %s, want drop", part, got)
					}
				}
				toServer, toClient := 0, 0
				for _, f := range q.takeSent() {
					tcp := layersOf(t, f).Layer(layers.LayerTypeTCP).(*layers.TCP)
					if !tcp.RST {
						t.Fatalf("a segment that is no reset was sent: %+v", tcp)
					}
					if f.Dir == packet.Egress {
						toServer++
						if tcp.Seq != 1001 {
							t.Errorf("reset to the server has seq %d, want 1001: what it expects next", tcp.Seq)
						}
					} else {
						toClient++
						if tcp.Seq != 90001 {
							t.Errorf("reset to the client has seq %d, want 90001", tcp.Seq)
						}
					}
				}
				if toServer != 1 || toClient != 1 {
					t.Errorf("%d resets to the server and %d to the client, want one each", toServer, toClient)
				}
			})
		})
	}
}

func TestHeldPiecesAreSentInOrder(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
	q := b.attach(backend.Inline)
	c := newConn(false, 40000, 8080)
	q.give(c.handshake(t)...)
	var delivered []byte
	for _, part := range strings.SplitAfter(httpRequest, "e") {
		got := q.give(c.seg(t, 0, "PA", part))
		for _, f := range q.takeSent() {
			delivered = append(delivered, layersOf(t, f).Layer(layers.LayerTypeTCP).(*layers.TCP).Payload...)
		}
		if got[0].Verdict.Action == packet.Pass {
			delivered = append(delivered, part...)
		}
	}
	if string(delivered) != httpRequest {
		t.Errorf("the server got %q, want %q", delivered, httpRequest)
	}
}

func TestHoldTimeEnds(t *testing.T) {
	for _, deny := range []bool{false, true} {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{Hold: 5 * time.Millisecond, HoldPass: !deny}, allow(7, tcpPort(8080), app.HTTP))
		q := b.attach(backend.Inline)
		c := newConn(false, 40000, 8080)
		q.give(c.handshake(t)...)
		q.give(c.seg(t, 0, "PA", "GE"))
		want := flow.Violate
		if deny {
			want = flow.Deny
		}
		b.flows(func(f flow.Record) bool { return f.Verdict == want && f.Reason == flow.ByHoldExpired })
		sent := q.takeSent()
		switch {
		case deny && len(sent) != 2:
			t.Errorf("%d frames sent after the hold time, want two resets", len(sent))
		case !deny && len(sent) != 1:
			t.Errorf("%d frames sent after the hold time, want the held one", len(sent))
		}
	}
}

func TestModeChangeKeepsSessions(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Discover, policy.WorkloadSpec{})
		tap := b.attach(backend.Tap)
		c, half := newConn(v6, 40000, 8080), newConn(v6, 40001, 8080)
		tap.give(c.handshake(t)...)
		tap.give(c.seg(t, 0, "PA", httpRequest), c.seg(t, 1, "PA", httpAnswer))
		tap.give(half.handshake(t)...)
		tap.give(half.seg(t, 0, "PA", httpRequest[:3])) // identification is under way
		b.policy(2, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
		q := b.attach(backend.Inline)
		if got := actions(q.give(c.seg(t, 0, "PA", "anything"), c.seg(t, 1, "PA", "binary\x00"))); got != "pass pass" {
			t.Errorf("after the change: %s, want pass pass", got)
		}
		if got := actions(q.give(half.seg(t, 0, "PA", httpRequest[3:]))); got != "pass" {
			t.Errorf("a session identified half before and half after: %s, want pass", got)
		}
		b.attach(backend.Tap)
		all := b.flows(func(f flow.Record) bool { return f.Rule == 7 })
		ids := map[uint64]bool{}
		for _, f := range all {
			ids[f.Session] = true
			if f.Kind == flow.End {
				t.Errorf("a session ended in the change: %+v", f)
			}
		}
		if len(ids) != 2 {
			t.Errorf("%d sessions, want 2", len(ids))
		}
	})
}

func TestLiveSessionIsJudgedAgain(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
	q := b.attach(backend.Inline)
	c := newConn(false, 40000, 8080)
	q.give(c.handshake(t)...)
	q.give(c.seg(t, 0, "PA", httpRequest), c.seg(t, 1, "PA", httpAnswer))
	b.policy(2, policy.Protect, policy.WorkloadSpec{})
	b.flows(func(f flow.Record) bool { return f.Verdict == flow.Deny && f.Policy == 2 }) // by the sweep, without a packet
	q.takeSent()                                                                         // a probe
	if got := actions(q.give(c.seg(t, 0, "PA", httpRequest))); got != "drop" {
		t.Errorf("after the rule is gone: %s, want drop", got)
	}
	if n := len(q.takeSent()); n != 2 {
		t.Errorf("%d resets, want 2", n)
	}
}

func TestUDPRejectAnswers(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{OnDeny: policy.Reject})
		q := b.attach(backend.Inline)
		f := frameOf(t, v6, 0, layers.IPProtocolUDP, &layers.UDP{SrcPort: 5000, DstPort: 53}, "question")
		if got := actions(q.give(f)); got != "drop" {
			t.Fatalf("datagram: %s, want drop", got)
		}
		sent := q.takeSent()
		if len(sent) != 1 || sent[0].Dir != packet.Ingress {
			t.Fatalf("sent %d frames, want one ICMP error to the workload", len(sent))
		}
		p := layersOf(t, sent[0])
		if v6 && p.Layer(layers.LayerTypeICMPv6) == nil || !v6 && p.Layer(layers.LayerTypeICMPv4) == nil {
			t.Errorf("sent %v, want an ICMP error", p)
		}
	})
}

// Neighbour discovery is no connection: it is neither learned nor denied.
func TestNeighbourDiscoveryIsOpen(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{})
	q := b.attach(backend.Inline)
	f := frameOf(t, true, 0, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(136, 0)}, string(make([]byte, 20)))
	f.Data[14+7] = 255 // hop limit
	if got := actions(q.give(f)); got != "pass" {
		t.Errorf("neighbour advertisement: %s, want pass", got)
	}
	f.Data[14+7] = 64 // from beyond the link: invalid
	if got := actions(q.give(f)); got != "drop" {
		t.Errorf("neighbour advertisement with hop limit 64: %s, want drop", got)
	}
}

// Changing the fail mode reattaches an inline endpoint; its sessions stay.
func TestReattachInlineKeepsSessions(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
	q := b.attach(backend.Inline)
	c := newConn(false, 40000, 8080)
	q.give(c.handshake(t)...)
	q.give(c.seg(t, 0, "PA", httpRequest), c.seg(t, 1, "PA", httpAnswer))
	ep := backend.Endpoint{ID: 1, Kind: backend.Inline, MAC: [6]byte{2, 0, 0, 0, 0, 1}, Fail: backend.FailClosed}
	if err := b.e.Attach(t.Context(), b.be, ep, "w"); err != nil {
		t.Fatal(err)
	}
	if got := actions(q.give(c.seg(t, 0, "PA", "anything"))); got != "pass" {
		t.Errorf("after the change: %s, want pass", got)
	}
	if got := b.e.Stats().Counters["engine.sessions_opened"]; got > 1 {
		t.Errorf("%d sessions opened, want 1", got)
	}
}

// Frames in the tap's ring at the switch are judged before the sessions move: a connection in
// those frames is reported exactly once.
func TestModeChangeDrainsTheTap(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Discover, policy.WorkloadSpec{})
	tap := b.attach(backend.Tap)
	const n = 300
	tap.mu.Lock()
	for i := range uint16(n) { // they are in the ring when the switch begins
		c := newConn(i%2 == 0, 20000+i, 8080)
		tap.in = append(tap.in, append(c.handshake(t), c.seg(t, 0, "PA", httpRequest)))
	}
	tap.mu.Unlock()
	b.policy(2, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
	b.attach(backend.Inline)
	if got := b.e.Stats().Counters["engine.unknown_endpoint"]; got != 0 {
		t.Errorf("%d frames had no endpoint", got)
	}
	seen := map[uint64]bool{}
	for deadline := time.Now().Add(3 * time.Second); len(seen) < n && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		b.be.inline.Wake()
		b.e.Drain(func(f *flow.Record) { seen[f.Session] = true })
	}
	if len(seen) != n {
		t.Errorf("%d connections were reported, want %d", len(seen), n)
	}
}
