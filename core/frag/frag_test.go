package frag_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
)

// both runs a test for each family.
func both(t *testing.T, fn func(t *testing.T, v6 bool)) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("v6=%v", v6), func(t *testing.T) { fn(t, v6) })
	}
}

func TestComplete(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, c := range []struct {
			name    string
			payload int
			size    int
			shuffle bool
			twice   bool
		}{
			{"two", 1000, 800, false, false},
			{"many", 9000, 1480, false, false},
			{"tiny first", 300, 8, false, false},
			{"reordered", 9000, 256, true, false},
			{"with duplicates", 5000, 512, true, true},
			{"the longest", 65535 - 8 - 20 - 8, 1480, false, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := frag.New(frag.Config{KeepFrames: true})
				data := udp(c.payload)
				parts := cut(data, c.size)
				if c.shuffle {
					rand.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
				}
				for i, part := range parts {
					b := build(v6, 7, part)
					got := add(t, r, b, int64(i))
					if i < len(parts)-1 {
						if got.Outcome != frag.Held {
							t.Fatalf("part %d: got %v %s", i, got.Outcome, got.Reason)
						}
						if c.twice {
							if got = add(t, r, b, int64(i)); got.Outcome != frag.Held {
								t.Fatalf("copy of part %d: got %v %s", i, got.Outcome, got.Reason)
							}
						}
						clear(b) // the frame was borrowed
						continue
					}
					check(t, got, v6, data, len(parts)-1)
				}
			})
		}
	})
}

// check compares a Complete result with the original datagram.
func check(t *testing.T, got frag.Result, v6 bool, data []byte, held int) {
	t.Helper()
	if got.Outcome != frag.Complete || len(got.Frames) != held {
		t.Fatalf("got %v %s with %d frames, want %d", got.Outcome, got.Reason, len(got.Frames), held)
	}
	p := new(packet.Packet)
	p.Decode(&got.Datagram)
	if p.Status != packet.OK || p.IPv6 != v6 || p.DstPort != 53 || !bytes.Equal(p.Payload, data[8:]) || !packet.VerifyIPv4(p) {
		t.Fatalf("got status %d reason %q port %d payload %d", p.Status, p.Reason, p.DstPort, len(p.Payload))
	}
	if d := got.Datagram; d.Endpoint != 3 || d.Dir != packet.Egress || d.Link != packet.RawIP {
		t.Errorf("got frame %+v", d)
	}
	for _, f := range got.Frames {
		q := new(packet.Packet)
		if q.Decode(f); q.Status != packet.Fragment || f.Endpoint != 3 || f.Slot != 0 {
			t.Fatalf("kept frame: got %+v", q)
		}
		tail := q.Network[len(q.Network)-min(8, len(q.Network)-q.IPHeader):]
		if !bytes.Contains(data, tail) {
			t.Error("a kept frame has changed")
		}
	}
}

func TestBad(t *testing.T) {
	data := udp(1000)
	other := append([]byte(nil), data...)
	other[20] ^= 1
	for _, c := range []struct {
		name  string
		parts []part
		want  frag.Reason
	}{
		{"teardrop", []part{{0, data[:80], true}, {24, data[24:48], false}}, frag.Overlap},
		{"overlap at the end", []part{{0, data[:80], true}, {72, data[72:160], true}}, frag.Overlap},
		{"overlap from the front", []part{{80, data[80:160], true}, {0, data[:88], true}}, frag.Overlap},
		{"same place, other bytes", []part{{0, data[:80], true}, {0, other[:80], true}}, frag.Overlap},
		{"same place, other length", []part{{0, data[:80], true}, {0, data[:72], true}}, frag.Overlap},
		{"same bytes, as the last", []part{{80, data[80:160], true}, {80, data[80:160], false}}, frag.Overlap},
		{"ping of death", []part{{0, data[:80], true}, {65528, data[:100], false}}, frag.Oversize},
		{"length no multiple of 8", []part{{0, data[:81], true}, {88, data[88:96], false}}, frag.BadLength},
		{"length no multiple of 8, second", []part{{0, data[:80], true}, {80, data[80:90], true}}, frag.BadLength},
		{"teardrop as it was seen", []part{{0, data[:36], true}, {24, data[24:28], false}}, frag.Overlap},
		{"empty", []part{{0, data[:80], true}, {80, nil, false}}, frag.Empty},
		{"behind the end", []part{{80, data[80:100], false}, {160, data[:8], true}}, frag.BeyondEnd},
		{"two ends", []part{{80, data[80:100], false}, {160, data[:8], false}}, frag.BeyondEnd},
		{"end before what is there", []part{{160, data[:80], true}, {80, data[80:88], false}}, frag.BeyondEnd},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, v6 bool) {
				r := frag.New(frag.Config{KeepFrames: true})
				for i, part := range c.parts {
					got := add(t, r, build(v6, 7, part), 0)
					if i < len(c.parts)-1 {
						if got.Outcome != frag.Held {
							t.Fatalf("part %d: got %v %s", i, got.Outcome, got.Reason)
						}
						continue
					}
					if got.Outcome != frag.Bad || got.Reason != c.want || len(got.Frames) != len(c.parts)-1 {
						t.Fatalf("got %v %q with %d frames, want %q", got.Outcome, got.Reason, len(got.Frames), c.want)
					}
				}
				got := add(t, r, build(v6, 7, part{0, data[:80], true}), 1)
				if got.Outcome != frag.Decided || got.Verdict.Action != packet.Drop {
					t.Errorf("afterwards: got %v %v, want decided drop", got.Outcome, got.Verdict)
				}
				if s := r.Stats(); s.Bad != 1 {
					t.Errorf("got %+v", s)
				}
			})
		})
	}
}

func TestTinyFirstFragmentIsReported(t *testing.T) {
	b := build(false, 7, part{0, udp(1000)[:8], true})
	b[14+9] = packet.ProtoTCP
	p := new(packet.Packet)
	if p.Decode(&packet.Frame{Data: b}); p.Reason != packet.TinyFragment {
		t.Errorf("got %q", p.Reason)
	}
}

func TestCutCapture(t *testing.T) {
	r := frag.New(frag.Config{})
	b := build(true, 7, part{0, udp(1000)[:800], true})
	f := &packet.Frame{Data: b[:200], Wire: uint32(len(b)), Flags: packet.Truncated}
	p := new(packet.Packet)
	p.Decode(f)
	if got := r.Add(p, f, 3, 0); got.Outcome != frag.Bad || got.Reason != frag.CutShort {
		t.Errorf("got %v %q", got.Outcome, got.Reason)
	}
	p.Decode(&packet.Frame{})
	if got := r.Add(p, f, 3, 0); got.Outcome != frag.NotFragment {
		t.Errorf("no fragment: got %v", got.Outcome)
	}
}

func TestVerdictIsFollowed(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		r := frag.New(frag.Config{})
		data := udp(1000)
		parts := cut(data, 512)
		for _, c := range parts {
			add(t, r, build(v6, 7, c), 0)
		}
		r.SetVerdict(packet.Verdict{Action: packet.Pass, Mark: 5})
		for _, c := range parts {
			got := add(t, r, build(v6, 7, c), int64(20*time.Second))
			if got.Outcome != frag.Decided || got.Verdict != (packet.Verdict{Action: packet.Pass, Mark: 5}) {
				t.Errorf("copy: got %v %v", got.Outcome, got.Verdict)
			}
		}
		// The same identification with other bytes is another datagram, which must not have the
		// verdict of the first.
		changed := append([]byte(nil), data...)
		changed[3]++
		for i, c := range cut(changed, 512) {
			got := add(t, r, build(v6, 7, c), int64(21*time.Second))
			if want := []frag.Outcome{frag.Held, frag.Complete}[i]; got.Outcome != want {
				t.Errorf("part %d of another: got %v, want %v", i, got.Outcome, want)
			}
		}
		if s := r.Stats(); s.Completed != 2 || s.Duplicates != uint64(len(parts)) {
			t.Errorf("got %+v", s)
		}
	})
}

func TestExpire(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		r := frag.New(frag.Config{})
		timeout := 30 * time.Second
		if v6 {
			timeout = 60 * time.Second
		}
		parts := cut(udp(1000), 512)
		add(t, r, build(v6, 1, parts[0]), 0)
		add(t, r, build(v6, 2, parts[0]), 1)
		if got := r.Expire(int64(timeout) - 1); got != 0 {
			t.Errorf("too early: got %d", got)
		}
		if got := r.Expire(int64(timeout)); got != 1 {
			t.Errorf("got %d, want 1", got)
		}
		// The end of a datagram whose middle is missing arrives too late for its beginning.
		for _, c := range parts[1:] {
			if got := add(t, r, build(v6, 1, c), int64(timeout)); got.Outcome != frag.Held {
				t.Errorf("got %v", got.Outcome)
			}
		}
		r.Expire(3 * int64(timeout))
		if s := r.Stats(); s.Datagrams != 0 || s.Bytes != 0 || s.Expired != 3 {
			t.Errorf("got %+v", s)
		}
	})
}
