package nfqueue

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// beatsPerLimit is how many heartbeats are sent in the time after which one is missed.
const beatsPerLimit = 4

// heart sends the heartbeats of the queues of one namespace.
type heart struct {
	v4, v6 int // sockets inside; -1 where the kernel lacks the family
	mark   uint32
	limit  time.Duration

	mu      sync.Mutex // guards the fields below
	closed  bool
	off     bool // the kernel lacks what the rules need
	beating []beating
	last    time.Time // the last heartbeat
	lapsed  bool      // packets may have met no heartbeat since the counters were read
}

// beating is a queue that gets heartbeats.
type beating struct {
	num uint16
	lo  bool
	q   *queue
}

// openHeart opens the sockets inside the namespace at path.
func openHeart(path string, mark uint32, limit time.Duration) (*heart, error) {
	h := &heart{v4: -1, v6: -1, mark: mark, limit: limit}
	err := netns.Do(path, func() error {
		for _, s := range []struct {
			fd     *int
			family int
		}{{&h.v4, unix.AF_INET}, {&h.v6, unix.AF_INET6}} {
			fd, err := unix.Socket(s.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if errors.Is(err, unix.EAFNOSUPPORT) {
				continue
			}
			if err != nil {
				return err
			}
			*s.fd = fd
			if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		h.close()
		return nil, fmt.Errorf("heartbeat socket: %w", err)
	}
	return h, nil
}

func (h *heart) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, fd := range []*int{&h.v4, &h.v6} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// enable switches heartbeats on or off.
func (h *heart) enable(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.off = !on
}

// add begins heartbeats for an endpoint's queues.
func (h *heart) add(list []*queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range list {
		h.beating = append(h.beating, beating{num: q.io.src.num, lo: q.loopback, q: q})
	}
}

// remove ends the heartbeats of a queue.
func (h *heart) remove(num uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beating = slices.DeleteFunc(h.beating, func(b beating) bool { return b.num == num })
}

// beat sends a heartbeat for each queue whose worker is not stuck. It reports whether the rule
// that handles them is missing.
func (h *heart) beat(now time.Time) (missing bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.off {
		return false
	}
	if !h.last.IsZero() && now.Sub(h.last) > h.limit/2 {
		h.lapsed = true
	}
	h.last = now
	for _, b := range h.beating {
		if b.q.busy.stuck(now, h.limit/2) {
			h.lapsed = true
			continue
		}
		if h.sendBoth(&b) {
			missing, h.lapsed = true, true
		}
	}
	return missing
}

// sendBoth sends a heartbeat by both families, and reports whether one was not dropped by the
// rule: then it is missing.
func (h *heart) sendBoth(b *beating) (missing bool) {
	index := b.q.index.Load()
	if h.v4 >= 0 {
		err := unix.Sendto(h.v4, nil, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(b.num)})
		if unreachable(err) && !b.lo { // lo is down
			info := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: index})
			err = unix.Sendmsg(h.v4, nil, info, &unix.SockaddrInet4{Addr: [4]byte{255, 255, 255, 255}, Port: int(b.num)}, unix.MSG_DONTWAIT)
		}
		missing = missing || err == nil
	}
	if h.v6 >= 0 {
		err := unix.Sendto(h.v6, nil, unix.MSG_DONTWAIT, &unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: int(b.num)})
		if unreachable(err) && !b.lo { // lo has no IPv6
			to := &unix.SockaddrInet6{Addr: [16]byte{0: 0xff, 1: 2, 15: 1}, Port: int(b.num), ZoneId: uint32(index)}
			err = unix.Sendto(h.v6, nil, unix.MSG_DONTWAIT, to)
		}
		missing = missing || err == nil
	}
	return missing
}

// unreachable reports whether a datagram had no way out, other than dropped by a rule (EPERM).
func unreachable(err error) bool { return err != nil && !errors.Is(err, unix.EPERM) }

// takeLapsed reports whether packets may have met no heartbeat since the last call.
func (h *heart) takeLapsed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.lapsed
	h.lapsed = false
	return was
}

// setLapsed has the counters read again.
func (h *heart) setLapsed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lapsed = true
}

// beats sends heartbeats and checks rules until the backend is closed.
func (b *Backend) beats() {
	defer b.wg.Done()
	tick := time.NewTicker(b.cfg.HeartbeatLimit / beatsPerLimit)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-b.stop:
			return
		case <-tick.C:
		}
		b.spaceMu.Lock()
		list := make([]*space, 0, len(b.spaces))
		for _, s := range b.spaces {
			list = append(list, s)
		}
		b.spaceMu.Unlock()
		for _, s := range list {
			missing := s.heart.beat(time.Now())
			if missing || n%beatsPerLimit == 0 {
				b.inspect(s, missing)
			}
		}
	}
}

// inspect checks the rules of a namespace and reports what was repaired.
func (b *Backend) inspect(s *space, missing bool) {
	if s.busy.Swap(true) {
		return // the last check still runs
	}
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		defer s.busy.Store(false)
		r := s.inspect(missing)
		if r == nil {
			return
		}
		b.repairMu.Lock()
		defer b.repairMu.Unlock()
		b.repairs.Add(*r)
	}()
}

// Repaired implements backend.Repairer.
func (b *Backend) Repaired() <-chan struct{} { return b.repairs.Repaired() }

// TakeRepairs implements backend.Repairer.
func (b *Backend) TakeRepairs() []backend.Repair {
	b.repairMu.Lock()
	defer b.repairMu.Unlock()
	return b.repairs.Take()
}
