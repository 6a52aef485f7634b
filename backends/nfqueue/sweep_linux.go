package nfqueue

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"

	"github.com/sluicenet/sluice/internal/netns"
)

// chainCounting is in the table where the backend switched the connection tracker's counters
// on. No packet reaches it.
const chainCounting = "counting"

// ErrInUse: the rules in a namespace are those of another process that runs.
var ErrInUse = errors.New("another process enforces this workload by queues: end it, or watch other workloads with one of them")

// Sweep removes the remains of a killed process in the namespace at path: its rules, the
// marks of offloaded connections, and the tracker's counters if it had switched them on. Rules
// whose queues a process reads are no remains: it returns ErrInUse.
func Sweep(path string) error {
	return sweep(path, false)
}

// sweep is Sweep; with used, rules in use are removed too.
func sweep(path string, used bool) error {
	f, err := netns.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(f.Fd())))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	bridge := false // there is one for bridges, which is removed with the others
	for _, t := range tables {
		if t.Name != tableName {
			continue
		}
		if t.Family == nftables.TableFamilyBridge {
			bridge = true
			continue
		}
		if !used {
			if live, err := inUse(c, t, path); err != nil || live {
				return cmp.Or(err, ErrInUse)
			}
		}
		old := space{path: path, file: f}
		if err := old.readUndo(c, t); err != nil {
			return err
		}
		return errors.Join(removeTables(int(f.Fd())), old.undoMarks())
	}
	if bridge {
		return removeBridge(int(f.Fd()))
	}
	return nil
}

// inUse reports whether a process reads a queue of a table's rules.
func inUse(c *nftables.Conn, t *nftables.Table, path string) (bool, error) {
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return false, fmt.Errorf("list chains: %w", err)
	}
	var text []byte
	if err := netns.Do(path, func() (err error) {
		text, err = os.ReadFile(procQueues)
		return err
	}); err != nil {
		return false, nil // without the list there are no queues
	}
	for _, ch := range chains {
		if ch.Table.Name != t.Name {
			continue
		}
		rules, err := c.GetRules(t, ch)
		if err != nil {
			return false, fmt.Errorf("list rules: %w", err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if num, ok := queueOf(e); ok && has(text, num) {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// queueOf returns the queue to which an expression passes packets, in either of its forms.
func queueOf(e expr.Any) (num uint16, ok bool) {
	switch e := e.(type) {
	case *expr.Queue:
		return e.Num, true
	case *expr.Target:
		if info, raw := e.Info.(*xt.Unknown); raw && e.Name == "NFQUEUE" && len(*info) >= 2 {
			return binary.NativeEndian.Uint16(*info), true
		}
	}
	return 0, false
}

// readUndo reads from a table what must be undone with it.
func (s *space) readUndo(c *nftables.Conn, t *nftables.Table) error {
	all, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range all {
		if ch.Table.Name != tableName {
			continue
		}
		switch ch.Name {
		case chainCounting:
			s.set.marks.acct = true
		case "out-save", "lo-save":
			rules, err := c.GetRules(t, ch)
			if err != nil {
				return fmt.Errorf("list rules: %w", err)
			}
			s.set.marks.base = baseOf(rules)
			s.set.marks.used.Store(s.set.marks.base != 0)
		}
	}
	return nil
}

// baseOf finds the secret part of the mark in the rules that save it: the first number other
// than 0 that a packet's mark is compared with.
func baseOf(rules []*nftables.Rule) uint32 {
	for _, r := range rules {
		for _, e := range r.Exprs {
			if x, ok := e.(*expr.Cmp); ok && len(x.Data) == 4 {
				if n := binary.NativeEndian.Uint32(x.Data); n != 0 {
					return n & markMask
				}
			}
		}
	}
	return 0
}
