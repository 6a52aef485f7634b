package engine_test

import (
	"sync"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestForwardedTwice: a packet that the workload forwards passes both interfaces. These are two
// sessions, one of each interface, and each packet is counted once by each.
func TestForwardedTwice(t *testing.T) {
	ways(t, func(t *testing.T, first, second datapath, v6 bool) {
		n := newInterfaces(t)
		n.policy(1, policy.Discover, policy.WorkloadSpec{})
		n.as(1, first)
		n.as(2, second)
		c := newConn(v6, 40000, 8080)
		for _, x := range []struct {
			end            int
			flags, payload string
		}{{0, "S", ""}, {1, "SA", ""}, {0, "A", ""}, {0, "PA", httpRequest}, {1, "PA", httpAnswer}, {0, "FA", ""}, {1, "FA", ""}, {0, "A", ""}} {
			f := c.seg(t, x.end, x.flags, x.payload)
			in, out := uint32(2), uint32(1)
			if x.end == 1 {
				in, out = out, in
			}
			f.Dir = packet.Ingress
			n.by(in, f)
			f.Dir = packet.Egress
			n.by(out, f)
		}
		last, packets := n.rows(2)
		dirs := map[packet.Direction]uint32{}
		for id, f := range last {
			dirs[f.Dir] = f.Endpoint
			if packets[id] != [2]uint64{5, 3} || app.ID(f.App) != app.HTTP || f.Outcome != flow.OutcomeClosed {
				t.Errorf("packets %v of %+v", packets[id], f)
			}
		}
		if dirs[packet.Ingress] != 2 || dirs[packet.Egress] != 1 {
			t.Errorf("sessions by direction and endpoint: %v", dirs)
		}
	})
}

// TestDatagramsOverBoth: a conversation without connections moves between interfaces and stays one.
func TestDatagramsOverBoth(t *testing.T) {
	ways(t, func(t *testing.T, first, second datapath, v6 bool) {
		n := newInterfaces(t)
		n.policy(1, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: []policy.PortSpec{{Proto: 17, Lo: 9000, Hi: 9000}}})
		n.as(1, first)
		n.as(2, second)
		for i := range 20 {
			ask := frameOf(t, v6, 1, layers.IPProtocolUDP, &layers.UDP{SrcPort: 40000, DstPort: 9000}, "question")
			answer := frameOf(t, v6, 0, layers.IPProtocolUDP, &layers.UDP{SrcPort: 9000, DstPort: 40000}, "answer")
			if a, b := n.by(uint32(1+i/10), ask), n.by(uint32(1+i%2), answer); a != packet.Pass || b != packet.Pass {
				t.Fatalf("question %d: %s, answer: %s", i, a, b)
			}
		}
		if first != tapped && second != tapped {
			if got := n.by(2, frameOf(t, v6, 1, layers.IPProtocolUDP, &layers.UDP{SrcPort: 40000, DstPort: 9001}, "question")); got != packet.Drop {
				t.Errorf("another port: %s", got)
			}
		}
		n.be.tick()
		n.counts("engine.sessions_opened", map[bool]uint64{true: 2, false: 1}[first != tapped && second != tapped])
	})
}

// TestBothAtOnce: the queues of both interfaces deliver at the same time, while interfaces come, go
// and change, and policies are applied. Run it with the race detector.
func TestBothAtOnce(t *testing.T) {
	n := newInterfaces(t)
	rule := policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: tcpPort(8080)}
	n.policy(1, policy.Protect, policy.WorkloadSpec{}, rule)
	n.as(1, steered)
	n.as(2, queued)
	queues := [2]*memQueue{n.be.inline, n.second.inline}
	done := make(chan struct{})
	var sending sync.WaitGroup
	for side := range queues {
		sending.Add(1)
		go func() {
			defer sending.Done()
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				c := swapped(newConn(i%2 == 0, uint16(20000+i%20000), 8080))
				for k, x := range []string{"S", "SA", "A", "PA"} {
					f := c.seg(t, k%2, x, map[bool]string{true: "hello"}[x == "PA"])
					f.Endpoint = uint32(1 + (side+k)%2)
					queues[(side+k)%2].give(f)
				}
			}
		}()
	}
	for i := range 12 {
		n.policy(uint64(i+2), policy.Protect, policy.WorkloadSpec{}, rule)
		switch i % 4 {
		case 0:
			n.as(1, queued)
		case 1:
			n.as(2, steered)
		case 2:
			n.as(1, steered)
		case 3:
			if err := n.e.Detach(2); err != nil {
				t.Error(err)
			}
			n.as(2, queued)
		}
	}
	close(done)
	sending.Wait()
}
