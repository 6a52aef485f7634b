package engine_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// interfaces is a workload with endpoints 1 and 2, each with the queue that has its frames now.
type interfaces struct {
	*bench
	second *secondBackend
	queues [3]*memQueue
}

// newInterfaces returns a bench whose workload is to have two endpoints.
func newInterfaces(t *testing.T) *interfaces {
	return &interfaces{bench: newBench(t), second: newSecondBackend(t)}
}

// datapath is a method of attaching an endpoint.
type datapath string

const (
	tapped  datapath = "tap"
	steered datapath = "steered"
	queued  datapath = "queued"
)

// as attaches endpoint id by a datapath.
func (n *interfaces) as(id uint32, how datapath) {
	n.t.Helper()
	ep := backend.Endpoint{ID: id, Kind: backend.Inline, Interface: fmt.Sprintf("eth%d", id-1), MAC: [6]byte{2, 0, 0, 0, 0, 1}}
	var be backend.Backend = n.be
	switch how {
	case tapped:
		ep.Kind = backend.Tap
	case queued:
		ep.Hook.Side = backend.StackSide
		be = n.second
	}
	if err := n.e.Attach(context.Background(), be, ep, "w"); err != nil {
		n.t.Fatal(err)
	}
	switch how {
	case tapped:
		n.queues[id] = n.be.taps[id]
	case steered:
		n.queues[id] = n.be.inline
	case queued:
		n.queues[id] = n.second.inline
	}
}

// by gives one frame to the queue of an endpoint and returns what became of it.
func (n *interfaces) by(id uint32, f packet.Frame) packet.Action {
	f.Endpoint, f.Stamp = id, time.Now().UnixNano()
	return n.queues[id].give(f)[0].Verdict.Action
}

// ways are the pairs of datapaths of endpoints 1 and 2.
func ways(t *testing.T, fn func(t *testing.T, first, second datapath, v6 bool)) {
	t.Helper()
	among(t, append([][2]datapath{{tapped, tapped}, {tapped, steered}, {steered, tapped}}, enforcing...), fn)
}

// enforcing are the pairs of datapaths that refuse and hold.
var enforcing = [][2]datapath{{steered, steered}, {queued, queued}, {steered, queued}, {queued, steered}}

// among runs a test for pairs of datapaths and both families.
func among(t *testing.T, pairs [][2]datapath, fn func(t *testing.T, first, second datapath, v6 bool)) {
	t.Helper()
	for _, w := range pairs {
		t.Run(string(w[0]+"-"+w[1]), func(t *testing.T) {
			families(t, func(t *testing.T, v6 bool) { fn(t, w[0], w[1], v6) })
		})
	}
}

// rows drains until as many sessions as are wanted have ended or were refused, and returns the last record and the
// packets of each.
func (n *interfaces) rows(want int) (last map[uint64]flow.Record, packets map[uint64][2]uint64) {
	n.t.Helper()
	last, packets = map[uint64]flow.Record{}, map[uint64][2]uint64{}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		n.be.tick()
		n.e.Drain(func(f *flow.Record) {
			last[f.Session] = *f
			p := packets[f.Session]
			packets[f.Session] = [2]uint64{p[0] + f.Packets[0], p[1] + f.Packets[1]}
		})
		ended := 0
		for _, f := range last {
			if f.Kind == flow.End || f.Verdict == flow.Deny {
				ended++
			}
		}
		if ended >= want {
			break
		}
	}
	if len(last) != want {
		n.t.Errorf("got %d sessions, want %d: %+v", len(last), want, last)
	}
	return last, packets
}

// TestAsymmetric: requests come in by one interface and the answers leave by the other. The
// connection is one, with its application, client and outcome, and nothing of it is refused.
func TestAsymmetric(t *testing.T) {
	ways(t, func(t *testing.T, first, second datapath, v6 bool) {
		n := newInterfaces(t)
		n.policy(1, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: tcpPort(8080), Apps: []app.ID{app.HTTP}})
		n.as(1, first)
		n.as(2, second)
		c := swapped(newConn(v6, 40000, 8080))
		for i, x := range []struct {
			by             uint32
			end            int
			flags, payload string
		}{
			{2, 0, "S", ""}, {1, 1, "SA", ""}, {2, 0, "A", ""}, {2, 0, "PA", httpRequest}, {1, 1, "PA", httpAnswer}, {2, 0, "A", ""},
			{2, 0, "FA", ""}, {1, 1, "FA", ""}, {2, 0, "A", ""},
		} {
			if got := n.by(x.by, c.seg(t, x.end, x.flags, x.payload)); got != packet.Pass {
				t.Fatalf("segment %d, %q by %d: %s", i, x.flags, x.by, got)
			}
		}
		last, packets := n.rows(1)
		for id, f := range last {
			if app.ID(f.App) != app.HTTP || f.Dir != packet.Ingress || f.ServerPort != 8080 || f.Verdict != flow.Allow || f.Outcome != flow.OutcomeClosed || f.Endpoint != 2 {
				t.Errorf("record %+v", f)
			}
			if packets[id] != [2]uint64{6, 3} {
				t.Errorf("packets %v, want [6 3]", packets[id])
			}
		}
	})
}

// swapped makes the workload the server.
func swapped(c *conn) *reversed { return &reversed{c} }

// reversed is a conn whose server is the workload.
type reversed struct{ *conn }

func (r *reversed) seg(t *testing.T, end int, flags, payload string) packet.Frame {
	t.Helper()
	c := &conn{v6: r.v6, cport: r.sport, sport: r.cport, seq: [2]uint32{r.seq[1], r.seq[0]}}
	f := c.seg(t, 1-end, flags, payload)
	r.conn.seq = [2]uint32{c.seq[1], c.seq[0]}
	return f
}

// TestAsymmetricRefused: what no rule allows is refused on either interface, whichever had the
// packets before, and is reported once.
func TestAsymmetricRefused(t *testing.T) {
	among(t, enforcing, func(t *testing.T, first, second datapath, v6 bool) {
		n := newInterfaces(t)
		n.policy(1, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: tcpPort(8080), Apps: []app.ID{app.HTTP}})
		n.as(1, first)
		n.as(2, second)
		other := swapped(newConn(v6, 40000, 9090))
		if got := n.by(2, other.seg(t, 0, "S", "")); got != packet.Drop {
			t.Errorf("SYN to another port: %s, want drop", got)
		}
		c := swapped(newConn(v6, 40001, 8080))
		for _, f := range []struct {
			by    uint32
			end   int
			flags string
		}{{1, 0, "S"}, {2, 1, "SA"}, {1, 0, "A"}} {
			if got := n.by(f.by, c.seg(t, f.end, f.flags, "")); got != packet.Pass {
				t.Fatalf("%s by %d: %s", f.flags, f.by, got)
			}
		}
		for i, by := range []uint32{1, 2} { // the request moves to the other interface, and back
			if got := n.by(by, c.seg(t, 0, "PA", []string{"*1\r\n$4\r\n", "PING\r\n"}[i])); got == packet.Pass {
				t.Fatalf("part %d of a request that is not allowed passed", i)
			}
		}
		if got := n.by(2, c.seg(t, 1, "PA", "+PONG\r\n")); got == packet.Pass {
			t.Error("an answer passed")
		}
		last, _ := n.rows(2)
		for _, f := range last {
			if f.Verdict != flow.Deny || f.Outcome != flow.OutcomeDenied || f.Dir != packet.Ingress {
				t.Errorf("record %+v", f)
			}
		}
	})
}

// TestHeldOnTheOtherInterface: a request is held on one interface and decided by what the other
// shows: it is sent where it came, once.
func TestHeldOnTheOtherInterface(t *testing.T) {
	among(t, enforcing, func(t *testing.T, first, second datapath, v6 bool) {
		n := newInterfaces(t)
		n.policy(1, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: tcpPort(8080), Apps: []app.ID{app.HTTP}})
		n.as(1, first)
		n.as(2, second)
		c := swapped(newConn(v6, 40000, 8080))
		n.by(1, c.seg(t, 0, "S", ""))
		n.by(2, c.seg(t, 1, "SA", ""))
		n.by(1, c.seg(t, 0, "A", ""))
		if got := n.by(1, c.seg(t, 0, "PA", httpRequest[:6])); got == packet.Pass {
			t.Fatalf("the beginning of a request: %s", got)
		}
		if got := n.by(2, c.seg(t, 0, "PA", httpRequest[6:])); got != packet.Pass {
			t.Fatalf("the rest of the request: %s", got)
		}
		var sent []packet.Frame
		for end := time.Now().Add(5 * time.Second); len(sent) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			sent = n.queues[1].takeSent()
		}
		if len(sent) != 1 || sent[0].Endpoint != 1 || string(layersOf(t, sent[0]).Layer(layers.LayerTypeTCP).LayerPayload()) != httpRequest[:6] {
			t.Errorf("sent at the first interface: %+v", sent)
		}
		if n.queues[2] != n.queues[1] {
			if other := n.queues[2].takeSent(); len(other) != 0 {
				t.Errorf("sent at the second interface: %+v", other)
			}
		}
	})
}

// TestOneInterfaceChanges: the datapath of one interface changes while the other stays, in each
// order, under connections over both: they stay the sessions that they were, and are allowed and
// refused as the mode has it.
func TestOneInterfaceChanges(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		n := newInterfaces(t)
		rule := policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: tcpPort(8080)}
		n.policy(1, policy.Monitor, policy.WorkloadSpec{}, rule)
		n.as(1, tapped)
		n.as(2, tapped)
		c := swapped(newConn(v6, 40000, 8080))
		n.by(2, c.seg(t, 0, "S", ""))
		n.by(1, c.seg(t, 1, "SA", ""))
		n.by(2, c.seg(t, 0, "A", ""))
		n.policy(2, policy.Protect, policy.WorkloadSpec{}, rule)
		sent := 0
		for i, step := range []struct {
			id  uint32
			how datapath
		}{{2, steered}, {1, steered}, {1, queued}, {2, queued}, {1, tapped}, {1, steered}, {2, tapped}, {2, queued}, {2, steered}, {1, tapped}, {2, tapped}, {2, steered}, {1, queued}} {
			n.as(step.id, step.how)
			time.Sleep(20 * time.Millisecond) // a tap's frames from before the cut are another datapath's
			for _, f := range []struct {
				by  uint32
				end int
			}{{2, 0}, {1, 1}} {
				sent++
				if got := n.by(f.by, c.seg(t, f.end, "PA", "some bytes")); got != packet.Pass {
					t.Fatalf("step %d: endpoint %d %s: a segment by %d: %s", i, step.id, step.how, f.by, got)
				}
			}
			refused := swapped(newConn(v6, uint16(41000+i), 9090))
			n.by(2, refused.seg(t, 0, "S", ""))
			if got := n.by(2, refused.seg(t, 0, "S", "")); n.queues[2] != n.be.taps[2] && got != packet.Drop {
				t.Fatalf("step %d: endpoint %d %s: another port: %s", i, step.id, step.how, got)
			}
		}
		n.by(2, c.seg(t, 0, "FA", ""))
		n.by(1, c.seg(t, 1, "FA", ""))
		n.by(2, c.seg(t, 0, "A", ""))
		sums, opened := [2]uint64{}, map[uint64]bool{}
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && sums != [2]uint64{uint64(sent)/2 + 4, uint64(sent)/2 + 2}; time.Sleep(10 * time.Millisecond) {
			n.be.tick()
			n.e.Drain(func(f *flow.Record) {
				if f.ServerPort == 8080 || f.ClientPort == 8080 {
					opened[f.Session] = true
					sums[0], sums[1] = sums[0]+f.Packets[0], sums[1]+f.Packets[1]
				}
			})
		}
		if len(opened) != 1 || sums != [2]uint64{uint64(sent)/2 + 4, uint64(sent)/2 + 2} {
			t.Errorf("got %d sessions with %v packets, want 1 with %d and %d", len(opened), sums, sent/2+4, sent/2+2)
		}
	})
}

// TestOneInterfaceGoes: a session that had frames of two interfaces stays when one of them is
// detached, those of that one alone end.
func TestOneInterfaceGoes(t *testing.T) {
	ways(t, func(t *testing.T, first, second datapath, v6 bool) {
		for gone := uint32(1); gone <= 2; gone++ {
			n := newInterfaces(t)
			n.policy(1, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: tcpPort(8080)})
			n.as(1, first)
			n.as(2, second)
			both, alone, stays := swapped(newConn(v6, 40000, 8080)), swapped(newConn(v6, 40001, 8080)), swapped(newConn(v6, 40002, 8080))
			left := 3 - gone
			for _, x := range []struct {
				c       *reversed
				in, out uint32
			}{{both, 2, 1}, {alone, gone, gone}, {stays, left, left}} {
				n.by(x.in, x.c.seg(t, 0, "S", ""))
				n.by(x.out, x.c.seg(t, 1, "SA", ""))
				n.by(x.in, x.c.seg(t, 0, "A", ""))
			}
			if err := n.e.Detach(gone); err != nil {
				t.Fatal(err)
			}
			for _, c := range []*reversed{both, stays} {
				if got := n.by(left, c.seg(t, 0, "PA", "hello")); got != packet.Pass {
					t.Errorf("without %d: %s", gone, got)
				}
			}
			if got := n.by(left, swapped(newConn(v6, 40003, 9090)).seg(t, 0, "S", "")); got != packet.Drop && n.queues[left] != n.be.taps[left] {
				t.Errorf("without %d: another port: %s", gone, got)
			}
			ended := n.ended(2 * time.Second)
			if len(ended) != 1 || ended[40001] == 0 {
				t.Errorf("without %d: sessions ended: %v, want that of client port 40001", gone, ended)
			}
			if err := n.e.Detach(left); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// ended returns the client ports of the sessions to port 8080 that end, within a time.
func (n *interfaces) ended(within time.Duration) map[uint16]int {
	out := map[uint16]int{}
	for end := time.Now().Add(within); time.Now().Before(end) && len(out) == 0; time.Sleep(10 * time.Millisecond) {
		n.be.tick()
		n.e.Drain(func(f *flow.Record) {
			if f.Kind == flow.End && f.ServerPort == 8080 {
				out[f.ClientPort]++
			}
		})
	}
	return out
}
