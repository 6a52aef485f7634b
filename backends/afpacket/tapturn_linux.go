package afpacket

import "time"

// turn is the change of a tap from one socket to another with a larger or smaller ring. For a
// moment both receive every frame. The old one is read for frames until cut, the new one for
// later frames.
type turn struct {
	cut  int64     // of the socket being read; 0 while it is the only one
	mute bool      // it receives nothing any more
	over time.Time // when no more frames can be on their way there; valid with mute
	last bool      // its unfinished block has been read
	from int64     // of the socket that has taken over; 0 once its own frames have begun
	busy bool      // the larger ring is in use, or was tried
	held bool      // resize is running or its socket waits to be used
}

const (
	// slack is how much later the old socket may stamp a frame than the new one: a frame may
	// arrive twice then, but is not missed.
	slack = int64(2 * time.Microsecond)
	// astray is a difference of stamps that only a change of the clock explains.
	astray = int64(time.Second)
	// calm is the number of idle ticks after which a tap gets its small ring again.
	calm = idleAfter + 30
)

// skips reports whether a frame with that stamp belongs to the other socket.
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

// change gives a tap that falls behind a larger ring, and returns to the small one when the
// tap has been idle for a while. The larger one is allocated elsewhere, while frames keep
// arriving; the worker then reads the rest of the old ring and continues in the new one.
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

// turnAway stops the socket being read, a while after the other one has begun: a frame may be
// stamped before it arrives.
func (t *tap) turnAway(s *tapSocket) {
	const overlap, settled = time.Millisecond, 5 * time.Millisecond
	now := time.Now()
	if since := now.UnixNano() - t.turn.cut; since >= 0 && since < int64(overlap) {
		return
	}
	t.turn.mute, t.turn.over = true, now.Add(settled)
	_ = s.snap(0, 0)
}

// turnOver continues with the other socket; the old one is empty.
func (t *tap) turnOver(s *tapSocket) {
	s.giveBack()
	t.whileOpen(func() { t.sock.Store(t.next.Swap(nil)) })
	s.close()
	t.turn = turn{from: t.turn.cut, busy: t.turn.busy}
}

// resize creates a socket with a ring of that size and puts it into next. If that fails, the
// tap stays as it is.
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
			s.watch(t.signal)
			t.whileOpen(func() {
				used = true
				t.countDrops() // losses of the old socket from now on are in this one
				if t.stopped.Load() != nil {
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
