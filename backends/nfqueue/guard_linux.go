package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// shape is the kernel's numbers of the parts of the tables: another program that changes one
// changes them.
type shape map[string]uint64

// shapeOf reads the shape of the backend's tables.
func shapeOf(ns int) (shape, error) {
	c, err := nftables.New(nftables.WithNetNSFd(ns), nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	defer func() { _ = c.CloseLasting() }()
	out := shape{}
	for _, family := range families {
		tables, err := c.ListTablesOfFamily(family)
		if err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		for _, t := range tables {
			if t.Name == tableName {
				out[fmt.Sprintf("table %d", family)] = uint64(t.Flags)
			}
		}
		all, err := c.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("list chains: %w", err)
		}
		for _, ch := range all {
			if ch.Table.Name != tableName {
				continue
			}
			policy := uint64(0)
			if ch.Policy != nil {
				policy = uint64(*ch.Policy)
			}
			out[fmt.Sprintf("chain %d %s", family, ch.Name)] = policy
			rules, err := c.GetRules(ch.Table, ch)
			if err != nil {
				return nil, fmt.Errorf("list rules: %w", err)
			}
			for i, r := range rules {
				out[fmt.Sprintf("rule %d %s %d", family, ch.Name, i)] = r.Handle
			}
		}
	}
	return out, nil
}

// generation reads the number of the last change of any rule in the namespace. The lock is held.
func (s *space) generation() (uint32, error) {
	if s.numbersOf == nil {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(s.file.Fd())})
		if err != nil {
			return 0, fmt.Errorf("open netlink: %w", err)
		}
		s.numbersOf = c
	}
	req := netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN), Flags: netlink.Request}, Data: make([]byte, 4)}
	answer, err := s.numbersOf.Execute(req)
	if err != nil {
		_ = s.numbersOf.Close()
		s.numbersOf = nil
		return 0, fmt.Errorf("read generation: %w", err)
	}
	for _, m := range answer {
		if len(m.Data) < 4 {
			continue
		}
		attrs, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, fmt.Errorf("read generation: %w", err)
		}
		for attrs.Next() {
			if attrs.Type() == unix.NFTA_GEN_ID && len(attrs.Bytes()) == 4 {
				return binary.BigEndian.Uint32(attrs.Bytes()), nil
			}
		}
	}
	return 0, errors.New("read generation: no answer")
}

// remember records that the rules were placed. They are listed at the next check, if nothing
// has changed until then. The lock is held.
func (s *space) remember() {
	s.placedAs, s.sound = nil, time.Now()
	s.gen, _ = s.generation()
}

// inspect checks that the rules are as they were placed, and places them again if not. missing
// reports that one is missing. It returns nil where there is nothing to report.
func (s *space) inspect(missing bool) *backend.Repair {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.placed || s.refs == 0 {
		return nil
	}
	now, ns := time.Now(), int(s.file.Fd())
	gen, err := s.generation()
	if err != nil || gen == s.gen && !missing {
		if err == nil {
			s.sound = now
			if s.placedAs == nil {
				s.placedAs, _ = shapeOf(ns)
			}
		}
		return nil
	}
	have, err := shapeOf(ns)
	if err == nil && s.placedAs != nil && maps.Equal(have, s.placedAs) {
		s.gen, s.sound = gen, now
		return nil
	}
	known := s.placedAs != nil
	r := &backend.Repair{Part: backend.PartRules, Detail: difference(have, s.placedAs), Passed: true, Sound: s.sound}
	if r.Err = s.flush(); r.Err != nil { // what is there may be incompatible
		s.placed = false
		r.Err = s.flush()
		s.placed = true
	}
	r.At = time.Now()
	s.heart.beat(r.At)
	if !known && !missing && r.Err == nil {
		return nil // another program's rules changed before these were listed
	}
	return r
}

// difference describes a change for operators.
func difference(have, want shape) string {
	gone, changed, added := 0, 0, 0
	for k, v := range want {
		switch n, ok := have[k]; {
		case !ok:
			gone++
		case n != v:
			changed++
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			added++
		}
	}
	if len(have) == 0 {
		return "table " + tableName + " removed"
	}
	return fmt.Sprintf("table %s: %d parts removed, %d changed, %d added", tableName, gone, changed, added)
}

// TakeUnjudged implements backend.UnjudgedCounter.
func (b *Backend) TakeUnjudged() []backend.Unjudged {
	b.spaceMu.Lock()
	list := make([]*space, 0, len(b.spaces))
	for _, s := range b.spaces {
		list = append(list, s)
	}
	b.spaceMu.Unlock()
	var out []backend.Unjudged
	for _, s := range list {
		if s.heart.takeLapsed() {
			list, err := s.unjudged()
			if err != nil {
				s.heart.setLapsed() // they are read the next time
			}
			out = append(out, list...)
		}
	}
	return out
}

var _ backend.UnjudgedCounter = (*Backend)(nil)

// unjudged reads the counters of packets that met no heartbeat.
func (s *space) unjudged() (out []backend.Unjudged, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.placed {
		return nil, nil
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(s.file.Fd())))
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	now := map[string][2]uint64{}
	for _, family := range families {
		objs, err := c.GetObj(&nftables.CounterObj{Table: &nftables.Table{Name: tableName, Family: family}})
		if err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		for _, o := range objs {
			if x, ok := o.(*nftables.CounterObj); ok {
				now[x.Name] = [2]uint64{now[x.Name][0] + x.Packets, now[x.Name][1] + x.Bytes}
			}
		}
	}
	for _, e := range s.set.endpoints {
		name := counterOf(e.queue, e.bypass)
		n, old := now[name], s.dead[name]
		if n[0] < old[0] || n[1] < old[1] {
			old = [2]uint64{} // the table was removed meanwhile
		}
		if n[0] > old[0] {
			out = append(out, backend.Unjudged{Endpoint: e.endpoint, Cause: backend.NoHeartbeat, Dropped: !e.bypass, Frames: n[0] - old[0], Bytes: n[1] - old[1]})
		}
	}
	s.dead = now
	return out, nil
}
