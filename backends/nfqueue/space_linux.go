package nfqueue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
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
}

func openSpace(path string, id netns.ID, cfg Config) (*space, error) {
	f, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	s := &space{id: id, path: path, file: f, cfg: cfg, numbers: map[uint16]bool{}}
	s.set.inject, s.set.native, s.set.bridge = secret(), cfg.Expression != ExprTarget, true
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

// rehook replaces an endpoint's interface in the rules, if it is in them. The lock is held.
func (s *space) rehook(h hooked) error {
	before := s.set.endpoints
	i := slices.IndexFunc(before, func(o hooked) bool { return o.queue == h.queue })
	if i < 0 {
		return nil
	}
	s.set.endpoints = slices.Clone(before)
	s.set.endpoints[i] = h
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
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", backend.ErrUnsupported, err)
	}
	return err
}

// simpler tries rules without what a kernel may lack: a transaction with one of these fails
// without effect.
func (s *space) simpler(err error) error {
	terr := s.without()
	if terr == nil {
		return nil
	}
	err = errors.Join(err, terr)
	if s.set.marks.base == 0 {
		return err
	}
	var cause unix.Errno
	errors.As(err, &cause)
	s.set.marks.off("the kernel's rules cannot match marks of connections: " + cause.Error())
	return s.without()
}

// without tries the rules as they are, without queue expressions, without rules for bridges,
// and without both.
func (s *space) without() (err error) {
	native, auto := s.cfg.Expression != ExprTarget, s.cfg.Expression == ExprAuto
	for _, s.set.bridge = range []bool{true, false} {
		s.set.native = native
		err = s.flush()
		if err != nil && auto {
			s.set.native = false
			err = s.flush()
		}
		if err == nil {
			break
		}
	}
	return err
}

func (s *space) flush() error {
	c, err := nftables.New(nftables.WithNetNSFd(int(s.file.Fd())))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	s.set.place(c, !s.placed)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("place rules: %w", err)
	}
	s.placed = true
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
	if s.placed {
		err = removeTables(int(s.file.Fd()))
		s.placed = false
	}
	return true, errors.Join(err, s.undoMarks(), s.file.Close())
}

// removeTables removes the backend's tables, those of both IP families in one transaction; a
// missing one is no error.
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
	return removeBridge(ns)
}
