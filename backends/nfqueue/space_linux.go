package nfqueue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// space is one namespace with endpoints: its rules and its queue numbers. The table remains
// as long as a queue is open, because removing a chain drops the packets waiting in any queue
// of the namespace.
type space struct {
	id   netns.ID
	path string
	file *os.File
	cfg  Config

	mu      sync.Mutex // guards the fields below
	refs    int        // open queues, and attachments in progress
	placed  bool
	set     ruleset
	numbers map[uint16]bool // used by the backend
	proc    *os.File        // the kernel's list of queues; nil before its first use
	heart   *heart
	busy    atomic.Bool // its rules are being checked

	numbersOf *netlink.Conn        // asks for the number of the last change; nil before its first use
	placedAs  shape                // the rules as they were placed; nil before they are listed
	gen       uint32               // the number of the last change that was compared
	sound     time.Time            // when the rules were last found as they are to be
	dead      map[string][2]uint64 // counters of packets without a heartbeat, as read last
}

func openSpace(path string, id netns.ID, cfg Config) (*space, error) {
	f, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	s := &space{id: id, path: path, file: f, cfg: cfg, numbers: map[uint16]bool{}}
	s.set.inject, s.set.native = secret(), cfg.Expression != ExprTarget
	switch {
	case !cfg.Marks:
		s.set.marks.off("switched off")
	default:
		if err := openMarks(path, &s.set.marks); err != nil {
			s.set.marks.off(err.Error())
		}
	}
	for s.set.inject&markMask == s.set.marks.base {
		s.set.inject = secret()
	}
	mark := secret()
	for mark&markMask == s.set.marks.base || mark == s.set.inject {
		mark = secret()
	}
	if s.heart, err = openHeart(path, mark, cfg.HeartbeatLimit); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.set.alive = alive{mark: mark, limit: cfg.HeartbeatLimit}
	return s, nil
}

// own returns a path to the namespace that is valid as long as the space is open.
func (s *space) own() string { return fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()) }

// secret returns a mark that a workload which may set marks cannot guess.
func secret() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint32(b[:]) | 1<<31
}

// sources binds n queues with consecutive numbers.
func (s *space) sources(n int, failOpen bool) ([]*source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for first := firstQueue; first+n-1 <= lastQueue; first += n {
		out, err := s.row(uint16(first), n, failOpen)
		if err == nil {
			s.refs += n
			return out, nil
		}
		if !taken(err) {
			return nil, err
		}
	}
	return nil, ErrNoQueue
}

// row binds the queues from first on, or none. The lock is held.
func (s *space) row(first uint16, n int, failOpen bool) (out []*source, err error) {
	for i := range uint16(n) {
		err = unix.EBUSY
		if !s.numbers[first+i] {
			var src *source
			if src, err = bind(s.file, first+i, s.cfg, failOpen); err == nil {
				s.numbers[first+i] = true
				out = append(out, src)
				continue
			}
		}
		for _, o := range out {
			delete(s.numbers, o.num)
			_ = o.close()
		}
		return nil, fmt.Errorf("queue %d: %w", first+i, err)
	}
	return out, nil
}

// hook adds an endpoint to the rules.
func (s *space) hook(h hooked) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.set.endpoints
	s.set.endpoints = append(before[:len(before):len(before)], h)
	err := s.apply()
	if err != nil {
		s.set.endpoints = before
	}
	return err
}

// unhook removes an endpoint from the rules. From then on no packet reaches its queues.
func (s *space) unhook(queue uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rest []hooked
	for _, h := range s.set.endpoints {
		if h.queue != queue {
			rest = append(rest, h)
		}
	}
	if len(rest) == len(s.set.endpoints) {
		return nil
	}
	s.set.endpoints = rest
	// Flows offloaded through this endpoint are undecided when they come back.
	return errors.Join(s.turn(), s.apply())
}

// apply makes the kernel's rules match the set, in one transaction; the first time with the
// features that the kernel has. The lock is held.
func (s *space) apply() error {
	err := s.flush()
	if err != nil && !s.placed {
		err = s.simpler(err)
		s.heart.enable(s.set.alive.mark != 0)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", backend.ErrUnsupported, err)
	}
	return err
}

// simpler tries rules without the expressions that a kernel may lack: a transaction with one
// of them fails without effect.
func (s *space) simpler(err error) error {
	native, mark := s.set.native, s.set.alive.mark
	if err = s.simplerQueues(err); err == nil {
		return nil
	}
	// Without heartbeats, packets wait for a process that is stopped.
	s.set.native, s.set.alive.mark = native, 0
	if ferr := s.flush(); ferr == nil {
		return nil
	}
	if ferr := s.simplerMarks(err); ferr == nil {
		return nil
	}
	s.set.native, s.set.alive.mark = native, mark
	return s.simplerMarks(err)
}

// simplerQueues tries the target of xtables.
func (s *space) simplerQueues(err error) error {
	if !s.set.native || s.cfg.Expression != ExprAuto {
		return err
	}
	s.set.native = false
	return s.flush()
}

// simplerMarks tries rules without marks, which keep all flows in their queues.
func (s *space) simplerMarks(err error) error {
	if s.set.native && s.cfg.Expression == ExprAuto {
		s.set.native = false
		terr := s.flush()
		if terr == nil {
			return nil
		}
		err = errors.Join(err, terr)
	}
	if s.set.marks.base == 0 {
		return err
	}
	var cause unix.Errno
	errors.As(err, &cause)
	s.set.marks.off("the kernel's rules cannot match marks of connections: " + cause.Error())
	s.set.native = s.cfg.Expression != ExprTarget
	if err := s.flush(); err == nil || !s.set.native || s.cfg.Expression == ExprNative {
		return err
	}
	s.set.native = false
	return s.flush()
}

func (s *space) flush() error {
	c, err := nftables.New(nftables.WithNetNSFd(int(s.file.Fd())))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	if err := s.set.place(c, !s.placed); err != nil {
		return fmt.Errorf("place rules: %w", err)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("place rules: %w", err)
	}
	s.placed = true
	s.remember()
	return nil
}

// free releases a queue's number.
func (s *space) free(num uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.numbers, num)
}

// release drops one reference; with the last one the table is removed.
func (s *space) release() (last bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs--; s.refs > 0 {
		return false, nil
	}
	s.closeList()
	s.heart.close()
	if s.numbersOf != nil {
		_ = s.numbersOf.Close()
	}
	if s.placed {
		err = removeTables(int(s.file.Fd()))
		s.placed = false
	}
	return true, errors.Join(err, s.undoMarks(), s.file.Close())
}

// removeTables removes the backend's tables of both families in one transaction; a missing
// one is no error.
func removeTables(ns int) error {
	c, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	for _, family := range families {
		c.DelTable(c.AddTable(&nftables.Table{Name: tableName, Family: family}))
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove rules: %w", err)
	}
	return nil
}
