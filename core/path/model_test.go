package path_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// talk is one conversation of the model: its tuple is in the tests' one pair of addresses.
type talk struct {
	v6           bool
	cport, sport uint16
	from         int // the end that is the client: 0 the workload, 1 its peer
}

// received is what the model has of a conversation.
type received struct {
	packets [2]uint64 // from the client, and back
	verdict flow.Verdict
}

// model is what must become of datagrams under rules for ports: the slow reader of the same policy.
type model struct {
	mode    policy.Mode
	allowed map[uint16]bool
	denied  map[uint16]bool
	talks   map[talk]*received
}

// verdict evaluates the rules for a conversation. They are from the workload to its peer alone.
func (m *model) verdict(k talk) flow.Verdict {
	switch {
	case k.from == 0 && m.allowed[k.sport] && !m.denied[k.sport]:
		return flow.Allow
	case m.mode == policy.Protect:
		return flow.Deny
	case k.from == 0 && m.denied[k.sport], m.mode == policy.Monitor:
		return flow.Violate
	}
	return flow.Learn
}

func (m *model) rules() (out []policy.RuleSpec) {
	for _, port := range slices.Sorted(maps.Keys(m.denied)) {
		r := allow(uint32(port), packet.ProtoUDP, port)
		r.Deny = true
		out = append(out, r)
	}
	for _, port := range slices.Sorted(maps.Keys(m.allowed)) {
		out = append(out, allow(1000+uint32(port), packet.ProtoUDP, port))
	}
	return out
}

// change draws other rules.
func (m *model) change(r *rand.Rand) {
	m.allowed, m.denied = map[uint16]bool{}, map[uint16]bool{}
	for port := uint16(5000); port < 5008; port++ {
		m.allowed[port], m.denied[port] = r.IntN(2) == 0, r.IntN(5) == 0
		if !m.allowed[port] {
			delete(m.allowed, port)
		}
		if !m.denied[port] {
			delete(m.denied, port)
		}
	}
}

// TestDatagramsFollowTheModel sends thousands of datagrams of many conversations, both families and both sides, and changes the rules in
// between: each datagram is forwarded or dropped as the rules of the moment say, and the records account for every one of them.
func TestDatagramsFollowTheModel(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(mode, seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, uint64(mode)))
				m := &model{mode: mode, talks: map[talk]*received{}}
				s := newStage(t, mode)
				for version := range uint64(8) {
					m.change(r)
					s.policy(version+1, policy.WorkloadSpec{Mode: mode}, m.rules()...)
					for range 60 {
						s.now += int64(r.IntN(20)) * 1e6
						m.batch(s, r)
					}
				}
				s.pass(10*time.Minute, 10*time.Second)
				m.compare(s)
			})
		}
	}
}

// batch sends some datagrams and compares their actions.
func (m *model) batch(s *stage, r *rand.Rand) {
	s.t.Helper()
	var frames []packet.Frame
	var want []packet.Action
	var keys []talk
	for range 1 + r.IntN(8) {
		k := talk{v6: r.IntN(2) == 0, cport: 40000 + uint16(r.IntN(6)), sport: 5000 + uint16(r.IntN(8)), from: r.IntN(2)}
		h := m.talks[k]
		if h == nil {
			h = &received{}
			m.talks[k] = h
		}
		back := h.packets[0] > 0 && r.IntN(2) == 0
		f, dir := udp(s.t, k.v6, k.from, k.cport, k.sport, "question"), 0
		if back {
			f, dir = udp(s.t, k.v6, 1-k.from, k.sport, k.cport, "answer"), 1
		}
		h.packets[dir]++
		h.verdict = m.verdict(k)
		action := pass
		if h.verdict == flow.Deny {
			action = drop
		}
		frames, want, keys = append(frames, f), append(want, action), append(keys, k)
	}
	got := s.give(frames...)
	for i := range got {
		if got[i] != want[i] {
			s.t.Fatalf("%+v (%+v so far) under %s, allowed %v, denied %v: %v, want %v", keys[i], *m.talks[keys[i]], m.mode, m.allowed, m.denied, got[i], want[i])
		}
	}
}

// compare adds the records up and compares them with what was sent.
func (m *model) compare(s *stage) {
	s.t.Helper()
	got := map[talk]*received{}
	sessions := map[uint64]talk{}
	for i := range s.all {
		f := &s.all[i]
		k := talk{v6: f.IPv6, cport: f.ClientPort, sport: f.ServerPort}
		if f.Dir == packet.Ingress {
			k.from = 1
		}
		if other, ok := sessions[f.Session]; ok && other != k {
			s.t.Errorf("session %d is of %+v and of %+v", f.Session, other, k)
		}
		sessions[f.Session] = k
		if got[k] == nil {
			got[k] = &received{}
		}
		for d := range f.Packets {
			got[k].packets[d] += f.Packets[d]
		}
	}
	for k, h := range m.talks {
		if g := got[k]; g == nil || g.packets != h.packets {
			s.t.Errorf("%+v: recorded %+v, want packets %v", k, g, h.packets)
		}
	}
	if len(got) != len(m.talks) {
		s.t.Errorf("%d conversations are recorded, want %d", len(got), len(m.talks))
	}
	if len(s.q.sent) != 0 {
		s.t.Errorf("%d frames were sent for datagrams, want none", len(s.q.sent))
	}
	s.counted(counter.UnknownEndpoint, 0)
	s.counted(counter.Malformed, 0)
}

// next is the segment of a step of a connection's life.
func (c *conn) next(t *testing.T, step int) packet.Frame {
	t.Helper()
	life := []struct {
		end            int
		flags, payload string
	}{{0, "S", ""}, {1, "SA", ""}, {0, "A", ""}, {0, "A", request}, {1, "A", "HTTP/1.1 204 No Content\r\n\r\n"}, {0, "FA", ""}, {1, "FA", ""}, {0, "A", ""}}
	x := life[step]
	return c.seg(t, x.end, x.flags, x.payload)
}

// TestConnectionsFollowTheModel opens many connections at once, their segments mixed: those that a rule allows work to their end, each
// other one is refused by a reset of its own at its SYN, and nothing else is sent.
func TestConnectionsFollowTheModel(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, packet.ProtoTCP, 8080), allow(8, packet.ProtoTCP, 8082))
		type live struct {
			*conn
			step int
		}
		var list []*live
		refused := 0
		for i := range uint16(60) {
			c := newConn(i%2 == 0, 40000+i, 8080+uint16(r.IntN(4)))
			list = append(list, &live{conn: c})
		}
		for len(list) > 0 {
			i := r.IntN(len(list))
			c := list[i]
			allowed := c.sport == 8080 || c.sport == 8082
			want := pass
			if c.step == 0 && !allowed {
				want = drop
				refused++
			}
			f := c.next(t, c.step)
			s.now += int64(r.IntN(3)) * 1e6
			if got := s.give(f); got[0] != want {
				t.Fatalf("seed %d: step %d of port %d: %v, want %v", seed, c.step, c.sport, got[0], want)
			}
			if c.step++; c.step == 8 || !allowed {
				list = slices.Delete(list, i, i+1)
			}
		}
		if len(s.q.sent) != refused {
			t.Errorf("seed %d: %d frames were sent, want a reset for each of %d refused connections", seed, len(s.q.sent), refused)
		}
		s.pass(10*time.Minute, 10*time.Second)
		closed, denied := 0, 0
		for i := range s.all {
			switch f := &s.all[i]; {
			case f.Kind != flow.End:
			case f.Verdict == flow.Allow && f.Outcome == flow.OutcomeClosed && f.Answered:
				closed++
			case f.Verdict == flow.Deny && f.Outcome == flow.OutcomeDenied:
				denied++
			default:
				t.Errorf("seed %d: ended as %+v", seed, f)
			}
		}
		if closed != 60-refused || denied != refused {
			t.Errorf("seed %d: %d closed and %d denied, want %d and %d", seed, closed, denied, 60-refused, refused)
		}
	}
}

// TestRefusedConversationContinues: a conversation that a policy refuses and the next one allows again continues with whichever end speaks
// first, and its client stays the client.
func TestRefusedConversationContinues(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for first, speaks := range []string{"the client", "the server"} {
			s := newStage(t, policy.Protect)
			rule := allow(7, packet.ProtoUDP, 5000)
			s.policy(1, protect(), rule)
			question, answer := udp(t, v6, 0, 40000, 5000, "question"), udp(t, v6, 1, 5000, 40000, "answer")
			s.want("allowed", s.give(question, answer), pass, pass)
			s.policy(2, protect())
			s.want("refused", s.give(question, answer), drop, drop)
			s.policy(3, protect(), rule)
			frames := []packet.Frame{question, answer}
			s.want(speaks+" first", s.give(frames[first], frames[1-first]), pass, pass)
			s.pass(10*time.Minute, 10*time.Second)
			for i := range s.all {
				if f := &s.all[i]; f.ServerPort != 5000 || f.Dir != packet.Egress || f.Evidence != flow.EvidenceHandshake {
					t.Errorf("%s first: recorded as %+v", speaks, f)
				}
			}
		}
	})
}
