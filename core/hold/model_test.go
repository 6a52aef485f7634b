package hold_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/hold"
	"github.com/sluicenet/sluice/core/packet"
)

// slowRoom is what a Room must do, written down without regard to speed.
type slowRoom struct {
	held map[uint32][]slowFrame
	ends map[uint32][2]int64 // until and limit
}

type slowFrame struct {
	text  string
	asked uint32
}

func (m *slowRoom) bytes() (n int) {
	for _, list := range m.held {
		for _, f := range list {
			n += len(f.text) + hold.Overhead
		}
	}
	return n
}

func (m *slowRoom) wait(n uint32, now int64, t hold.Times) int64 {
	e := m.ends[n]
	if len(m.held[n]) == 0 {
		e[1] = now + t.Hold
	}
	e[0] = e[1]
	if t.Pause > 0 && now+t.Pause < e[0] {
		e[0] = now + t.Pause
	}
	m.ends[n] = e
	return e[0]
}

func (m *slowRoom) due(n uint32, now int64) hold.Due {
	e := m.ends[n]
	switch {
	case len(m.held[n]) == 0 || now < e[0]:
		return hold.NotYet
	case e[0] < e[1]:
		return hold.Quiet
	}
	return hold.Expired
}

// take takes what was part of the requests up to asked.
func (m *slowRoom) take(n, asked uint32) (out []string) {
	var rest []slowFrame
	for _, f := range m.held[n] {
		if f.asked <= asked {
			out = append(out, f.text)
			continue
		}
		rest = append(rest, f)
	}
	m.held[n] = rest
	return out
}

// TestRoomFollowsTheModel does thousands of random steps on a Room and on the model: what is held, in which order, by which deadline, and
// that no deadline passes before the alarm.
func TestRoomFollowsTheModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		var room hold.Room
		m := &slowRoom{held: map[uint32][]slowFrame{}, ends: map[uint32][2]int64{}}
		times := hold.Times{Hold: 1000 * ms, Pause: []int64{0, 200 * ms, 5000 * ms}[r.IntN(3)]}
		asked := map[uint32]uint32{}
		now := int64(1)
		for step := range 2000 {
			now += int64(r.IntN(100)) * ms
			n := 1 + uint32(r.IntN(6))
			switch r.IntN(6) {
			case 0, 1, 2:
				text := fmt.Sprintf("%d of %d %0*d", step, n, r.IntN(40), 0)
				fits := m.bytes()+len(text)+hold.Overhead <= hold.PeerBytes
				if got := room.Fits(n, hold.Owner{}, hold.Sum{Frames: 1, Bytes: len(text)}); got != fits {
					t.Fatalf("seed %d, step %d: fits %t, want %t", seed, step, got, fits)
				}
				if !fits {
					break
				}
				if got, want := room.Wait(n, now, times), m.wait(n, now, times); got != want {
					t.Fatalf("seed %d, step %d: until %d, want %d", seed, step, got, want)
				}
				asked[n] += uint32(r.IntN(2))
				room.Put(n, &packet.Frame{Data: []byte(text)}, hold.Piece{Asked: asked[n]})
				m.held[n] = append(m.held[n], slowFrame{text, asked[n]})
			case 3:
				if len(m.held[n]) == 0 {
					break
				}
				e := m.ends[n]
				e[0] = min(e[1], now+100*ms)
				m.ends[n] = e
				if got := room.Extend(n, now, 100*ms); got != e[0] {
					t.Fatalf("seed %d, step %d: extended until %d, want %d", seed, step, got, e[0])
				}
			case 4:
				upTo := uint32(r.IntN(int(asked[n]) + 2))
				got, want := texts(room.Take(n, upTo)), m.take(n, upTo)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("seed %d, step %d: took %q, want %q", seed, step, got, want)
				}
			default:
				if got, want := texts(room.TakeAll(n)), m.take(n, 1<<30); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("seed %d, step %d: took all %q, want %q", seed, step, got, want)
				}
			}
			if err := m.differs(&room, now); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
	}
}

// differs compares everything that a Room shows.
func (m *slowRoom) differs(room *hold.Room, now int64) error {
	if got, want := room.Bytes(), m.bytes(); got != want {
		return fmt.Errorf("%d bytes are held, want %d", got, want)
	}
	next, any := int64(1<<62), false
	for n := uint32(0); n < 9; n++ {
		if got, want := room.Len(n), len(m.held[n]); got != want {
			return fmt.Errorf("session %d: %d packets are held, want %d", n, got, want)
		}
		if got, want := room.Due(n, now), m.due(n, now); got != want {
			return fmt.Errorf("session %d: due %d, want %d", n, got, want)
		}
		until := int64(0)
		if len(m.held[n]) > 0 {
			until, any = m.ends[n][0], true
			if until > now {
				next = min(next, until)
			}
		}
		if got := room.Until(n); got != until {
			return fmt.Errorf("session %d: until %d, want %d", n, got, until)
		}
	}
	switch alarm := room.Alarm(now); {
	case any != (alarm != 0):
		return fmt.Errorf("alarm %d, held %t", alarm, any)
	case any && (alarm <= now || alarm > next && alarm > now+10*ms):
		return fmt.Errorf("alarm at %d, now is %d and the next deadline %d", alarm, now, next)
	}
	return nil
}
