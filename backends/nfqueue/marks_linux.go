package nfqueue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/conntrack"
	"github.com/sluicenet/sluice/internal/netns"
)

// marks is how decided flows of one namespace are offloaded: a number in their connection's
// mark, of which the upper bits are a secret and the lower ones count recalls.
type marks struct {
	base    uint32 // 0: no flow is offloaded
	stays   string // the reason for it
	kernel  uint32 // the mark that the rules pass
	stale   bool   // the rules could not be changed as required
	acct    bool   // the backend switched the tracker's counters on
	used    atomic.Bool
	present atomic.Uint64 // generation<<32 | its mark, for workers
}

const (
	markCount = 0xfff
	markMask  = ^uint32(markCount)

	acctFile = "/proc/sys/net/netfilter/nf_conntrack_acct"
)

// off disables offloading.
func (m *marks) off(why string) {
	m.base, m.kernel, m.stays = 0, 0, why
	m.present.Store(0)
}

// mark returns the packet mark for a verdict of a generation; 0 if the generation is past.
func (m *marks) mark(generation uint32) uint32 {
	if !m.used.Load() {
		m.used.Store(true) // stored before the load: recall stores in the other order
	}
	if p := m.present.Load(); uint32(p>>32) == generation {
		return uint32(p)
	}
	return 0
}

// openMarks prepares the connection tracker of the namespace at path to count offloaded
// flows.
func openMarks(path string, m *marks) error {
	// The first request loads the tracker where it is a module.
	t, err := conntrack.Open(path)
	if err != nil {
		return err
	}
	defer t.Close()
	var e conntrack.Entry
	if err := t.Get(&e, &conntrack.Tuple{Proto: unix.IPPROTO_TCP}); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	m.acct, err = setCounting(path, true)
	if err != nil {
		return err
	}
	m.base = secret() & markMask
	m.kernel = m.base | 1
	return nil
}

// setCounting switches the tracker's counters and reports whether that was a change.
func setCounting(path string, on bool) (changed bool, err error) {
	want := []byte{'0', '\n'}
	if on {
		want[0] = '1'
	}
	err = netns.Do(path, func() error {
		old, err := os.ReadFile(acctFile)
		if err != nil || bytes.Equal(old, want) {
			return err
		}
		changed = true
		return os.WriteFile(acctFile, want, 0)
	})
	if err != nil {
		return false, fmt.Errorf("connection tracker cannot count: %w", err)
	}
	return changed, nil
}

// recall makes generation the present one. The lock is held.
func (s *space) recall(generation uint32) error {
	m := &s.set.marks
	p := m.present.Load()
	if m.base == 0 || uint32(p>>32) == generation && !m.stale {
		return nil
	}
	m.present.Store(uint64(generation)<<32 | uint64(m.kernel))
	if !m.used.Load() && !m.stale {
		return nil // no flow was offloaded, and none will be by an older generation
	}
	m.stale = true
	if err := s.turn(); err != nil {
		return err
	}
	if s.placed {
		if err := s.flush(); err != nil {
			return fmt.Errorf("recall flows: %w", err)
		}
	}
	m.stale = false
	return nil
}

// turn chooses another mark for flows offloaded from now on. The rules must follow, and the
// lock is held.
func (s *space) turn() error {
	m := &s.set.marks
	if m.base == 0 || !m.used.Load() {
		return nil
	}
	if m.kernel&markCount == markCount {
		if err := s.clearMarks(); err != nil {
			return err
		}
		m.kernel = m.base
	}
	m.kernel++
	m.present.Store(m.present.Load()&^0xffffffff | uint64(m.kernel))
	return nil
}

// clearMarks removes the backend's marks from all connections.
func (s *space) clearMarks() error {
	t, err := conntrack.Open(s.own())
	if err != nil {
		return err
	}
	defer t.Close()
	return t.ClearMarks(s.set.marks.base, markMask)
}

// undoMarks restores the connection tracker. The rules are gone, and the lock is held.
func (s *space) undoMarks() error {
	m := &s.set.marks
	var errs []error
	if m.base != 0 && m.used.Load() {
		errs = append(errs, s.clearMarks())
	}
	if m.acct {
		_, err := setCounting(s.own(), false)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
