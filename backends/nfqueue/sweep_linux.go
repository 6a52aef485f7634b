package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/sluicenet/sluice/internal/netns"
)

// chainCounting is in the table where the backend switched the connection tracker's counters
// on. No packet reaches it.
const chainCounting = "counting"

// Sweep removes the remains of a killed process in the namespace at path: its rules, the
// marks of offloaded connections, and the tracker's counters if it had switched them on.
func Sweep(path string) error {
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
	for _, t := range tables {
		if t.Name != tableName {
			continue
		}
		old := space{path: path, file: f}
		if err := old.readUndo(c, t); err != nil {
			return err
		}
		return errors.Join(removeTables(int(f.Fd())), old.undoMarks())
	}
	return nil
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
			if cmp, ok := e.(*expr.Cmp); ok && len(cmp.Data) == 4 {
				if n := binary.NativeEndian.Uint32(cmp.Data); n != 0 {
					return n & markMask
				}
			}
		}
	}
	return 0
}
