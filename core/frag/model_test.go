package frag_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
)

// naive is one datagram as the RFCs have it: a set of pieces, no two of which may share a byte (RFC 5722), one of which is the last.
type naive struct {
	pieces  []part
	decided bool
	bad     bool
}

func (n *naive) overlaps(p part) bool {
	for _, o := range n.pieces {
		if p.at < o.at+len(o.data) && o.at < p.at+len(p.data) {
			return true
		}
	}
	return false
}

func (n *naive) has(p part) bool {
	for _, o := range n.pieces {
		if o.at == p.at && o.more == p.more && bytes.Equal(o.data, p.data) {
			return true
		}
	}
	return false
}

// end is where the datagram ends, -1 as long as it is unknown, and how far the pieces reach.
func (n *naive) end() (end, reach int) {
	end = -1
	for _, o := range n.pieces {
		reach = max(reach, o.at+len(o.data))
		if !o.more {
			end = o.at + len(o.data)
		}
	}
	return end, reach
}

// add is what has to become of a fragment whose length is a multiple of 8 or which is the last.
func (n *naive) add(p part) (frag.Outcome, frag.Reason) {
	end, reach := n.end()
	switch {
	case n.decided && (n.bad || n.has(p)):
		return frag.Decided, ""
	case n.decided: // the identification is used again
		*n = naive{}
		return n.add(p)
	case n.has(p):
		return frag.Held, ""
	case n.overlaps(p):
		n.decided, n.bad = true, true
		return frag.Bad, frag.Overlap
	case end >= 0 && (!p.more || p.at+len(p.data) > end), !p.more && reach > p.at:
		n.decided, n.bad = true, true
		return frag.Bad, frag.BeyondEnd
	}
	n.pieces = append(n.pieces, p)
	have := 0
	for _, o := range n.pieces {
		have += len(o.data)
	}
	if end, _ = n.end(); end == have {
		n.decided = true
		return frag.Complete, ""
	}
	return frag.Held, ""
}

// bytes is the datagram's data, once it is whole.
func (n *naive) bytes() []byte {
	end, _ := n.end()
	b := make([]byte, end)
	for _, o := range n.pieces {
		copy(b[o.at:], o.data)
	}
	return b
}

// TestRandomFragmentsAgainstModel: fragments of random places, lengths and contents, of several datagrams at once, judged as the model does.
func TestRandomFragmentsAgainstModel(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		r := rand.New(rand.NewPCG(41, 42))
		seen := map[frag.Outcome]int{}
		re := frag.New(frag.Config{KeepFrames: true})
		data := udp(56)
		other := bytes.Clone(data)
		other[9] ^= 1
		models := map[uint16]*naive{}
		for n := range 40000 {
			id := uint16(r.IntN(5))
			if n%50 == 0 { // others begin
				clear(models)
				re = frag.New(frag.Config{KeepFrames: true})
			}
			if models[id] == nil {
				models[id] = new(naive)
			}
			at := 8 * r.IntN(8)
			size := min(8*(1+r.IntN(3)), 64-at)
			if n%100 < 75 { // mostly as one sender cuts
				at, size = at&^15, 16
			}
			p := part{at, data[at : at+size], at == 0 || at+size < 64 && r.IntN(12) != 0}
			if r.IntN(40) == 0 {
				p.data = other[at : at+size]
			}
			want, reason := models[id].add(p)
			got := add(t, re, build(v6, id, p), int64(n))
			if got.Outcome != want || got.Reason != reason {
				t.Fatalf("fragment %d of %d at %d+%d more %v behind %v: got %v %q, want %v %q", n, id, at, size, p.more, models[id].pieces, got.Outcome, got.Reason, want, reason)
			}
			if want == frag.Complete {
				q := new(packet.Packet)
				q.Decode(&got.Datagram)
				if whole := models[id].bytes(); !bytes.HasSuffix(got.Datagram.Data, whole) || q.Status == packet.Fragment || len(q.Network)-q.IPHeader != len(whole) {
					t.Fatalf("fragment %d: got %x, want %x", n, got.Datagram.Data, whole)
				}
			}
			seen[want]++
		}
		for _, o := range []frag.Outcome{frag.Held, frag.Complete, frag.Bad, frag.Decided} {
			if seen[o] < 500 {
				t.Errorf("%v came only %d times", o, seen[o])
			}
		}
	})
}

// TestManyDatagramsInterleaved: datagrams whose fragments come mixed and in any order are each put together right.
func TestManyDatagramsInterleaved(t *testing.T) {
	type one struct {
		id uint16
		p  part
	}
	both(t, func(t *testing.T, v6 bool) {
		r := rand.New(rand.NewPCG(43, 44))
		re := frag.New(frag.Config{KeepFrames: true, MaxBytes: 64 << 20})
		want, left, frames := map[uint16][]byte{}, map[uint16]int{}, map[uint16]int{}
		var all []one
		for id := range uint16(200) {
			data := udp(100 + r.IntN(3000))
			data[8] = byte(id)
			want[id] = data
			for _, p := range cut(data, 8*(1+r.IntN(100))) {
				if len(p.data) == len(data) {
					continue
				}
				all = append(all, one{id, p})
				left[id]++
			}
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, o := range all {
			got := add(t, re, build(v6, o.id, o.p), 0)
			if left[o.id]--; left[o.id] > 0 {
				frames[o.id]++
				if got.Outcome != frag.Held {
					t.Fatalf("datagram %d: got %v %s with %d to come", o.id, got.Outcome, got.Reason, left[o.id])
				}
				continue
			}
			if got.Outcome != frag.Complete || !bytes.HasSuffix(got.Datagram.Data, want[o.id]) || len(got.Frames) != frames[o.id] {
				t.Fatalf("datagram %d: got %v with %d frames, want %d", o.id, got.Outcome, len(got.Frames), frames[o.id])
			}
		}
		if re.Waiting(3) {
			t.Error("something is still waiting")
		}
	})
}

// TestTimeoutsByFamily: RFC 791 and RFC 8200 4.5: a fragment that comes in time completes its datagram, one that comes too late begins another.
func TestTimeoutsByFamily(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  frag.Config
		v6   bool
		want time.Duration
	}{
		{"IPv4", frag.Config{}, false, 30 * time.Second},
		{"IPv6", frag.Config{}, true, 60 * time.Second},
		{"IPv4 set", frag.Config{Timeout4: time.Second}, false, time.Second},
		{"IPv6 set", frag.Config{Timeout6: time.Second}, true, time.Second},
		{"IPv6 with IPv4's set", frag.Config{Timeout4: time.Second}, true, 60 * time.Second},
	} {
		parts := cut(udp(100), 56)
		for _, late := range []bool{false, true} {
			re := frag.New(c.cfg)
			at := int64(c.want) - 1
			want := frag.Complete
			if late {
				at, want = int64(c.want), frag.Held
			}
			add(t, re, build(c.v6, 1, parts[0]), 0)
			if got := add(t, re, build(c.v6, 1, parts[1]), at); got.Outcome != want {
				t.Errorf("%s, late %v: got %v, want %v", c.name, late, got.Outcome, want)
			}
			if s := re.Stats(); (s.Expired == 1) != late {
				t.Errorf("%s, late %v: got %+v", c.name, late, s)
			}
		}
	}
}

// TestDecidedIsForgotten: the verdict of a datagram is followed until the timeout after its decision, and no longer.
func TestDecidedIsForgotten(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		timeout := 30 * time.Second
		if v6 {
			timeout = 60 * time.Second
		}
		parts := cut(udp(100), 56)
		re := frag.New(frag.Config{KeepFrames: true})
		add(t, re, build(v6, 1, parts[0]), 0)
		add(t, re, build(v6, 1, parts[1]), 1000)
		re.SetVerdict(packet.Verdict{Action: packet.Pass, Mark: 5})
		for _, p := range parts {
			if got := add(t, re, build(v6, 1, p), 1000+int64(timeout)-1); got.Outcome != frag.Decided || got.Verdict.Action != packet.Pass || got.Verdict.Mark != 5 {
				t.Errorf("within the timeout: got %v %v", got.Outcome, got.Verdict)
			}
		}
		if got := add(t, re, build(v6, 1, parts[0]), 1000+int64(timeout)); got.Outcome != frag.Held {
			t.Errorf("after the timeout: got %v", got.Outcome)
		}
		if re.Expire(1000 + 3*int64(timeout)); re.Stats().Datagrams != 0 || re.Stats().Bytes != 0 {
			t.Errorf("in the end: got %+v", re.Stats())
		}
	})
}
