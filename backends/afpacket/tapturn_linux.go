package afpacket

import "time"

// turn is the change of a tap from one socket to another, whose ring is larger or smaller. For a
// moment both get every frame. The one before is read for what came until cut, the other one for
// what came afterwards.
type turn struct {
	cut  int64     // of the socket that is read; 0 while it is the only one
	mute bool      // and it gets nothing any more
	over time.Time // when nothing can be on its way there any more; valid with mute
	last bool      // its unfinished block has been read
	from int64     // of the socket that has taken over; 0 once a frame of its own has come
	busy bool      // the larger ring is in use, or was tried
	held bool      // resize is at work or its socket waits to be used
}

const (
	// slack is how much later a frame may be stamped by the socket before than by the new one: a
	// frame may come twice then, but not be missed.
	slack = int64(2 * time.Microsecond)
	// astray is a difference of stamps that only somebody who sets the clock makes.
	astray = int64(time.Second)
	// calm is how many idle ticks let a tap have its small ring again.
	calm = idleAfter + 30
)

// skips says whether a frame of that time is the other socket's.
func (t *turn) skips(stamp int64) bool {
	if t.cut != 0 {
		if after := stamp - t.cut; after > slack && after < astray {
			return true
		}
	}
	if t.from != 0 {
		if before := t.from - stamp; before > 0 && before < astray {
			return true
		}
		t.from = 0
	}
	return false
}

// change gives a tap that cannot keep up a larger ring, and takes it back when nothing has come for
// a while. The memory of the larger one is made elsewhere, while frames go on coming; the
// worker then reads what is left in the ring before and goes on in the new one.
func (t *tap) change() {
	s := t.sock.Load()
	switch {
	case t.turn.mute:
		switch {
		case s.ready() || time.Now().Before(t.turn.over):
		case !t.turn.last && s.unfinished():
			t.turn.last = true
		default:
			t.turnOver(s)
		}
	case t.turn.cut != 0:
		t.turnAway(s)
	case t.turn.held:
		if next := t.next.Load(); next != nil {
			t.turn.cut = next.since
		}
	case !t.turn.busy && t.cfg.TapBusyRing > t.cfg.TapRing && s.crowded():
		t.turn.busy = true
		t.resize(t.cfg.TapBusyRing)
	case t.turn.busy && t.idle > calm:
		t.turn.busy = false
		if s.blocks*s.blockSize > t.cfg.TapRing {
			t.resize(t.cfg.TapRing)
		}
	}
}

// turnAway ends what comes to the socket that is read, a while after the other one has begun: a
// frame may have its stamp before it comes here.
func (t *tap) turnAway(s *tapSocket) {
	const overlap, settled = time.Millisecond, 5 * time.Millisecond
	now := time.Now()
	if since := now.UnixNano() - t.turn.cut; since >= 0 && since < int64(overlap) {
		return
	}
	t.turn.mute, t.turn.over = true, now.Add(settled)
	_ = s.snap(0, 0)
}

// turnOver goes on with the other socket; nothing is left in the one before.
func (t *tap) turnOver(s *tapSocket) {
	s.giveBack()
	t.whileOpen(func() { t.sock.Store(t.next.Swap(nil)) })
	s.close()
	t.turn = turn{from: t.turn.cut, busy: t.turn.busy}
}

// resize makes a socket with a ring of that size and puts it into next. Where it cannot be had,
// the tap stays as it is.
func (t *tap) resize(size int) {
	if !t.unlessClosed(func() { t.resizing.Add(1) }) {
		return
	}
	t.turn.held = true
	go func() {
		defer t.resizing.Done()
		s, err := openTapSocket(t.ep, t.cfg, size)
		if err != nil {
			return
		}
		used := false
		if s.index == t.index && s.bind() == nil {
			s.since = time.Now().UnixNano()
			t.whileOpen(func() {
				used = true
				t.countDrops() // what the socket before loses from now on, this one has
				if t.stopped.Load() != 0 {
					_ = s.snap(0, 0)
				}
				t.next.Store(s)
			})
		}
		if !used {
			s.close()
		}
	}()
}
