package policy

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// mergeRules is the number of rules up to which pairs of groups share one port table. Larger
// pairs have their own, which all classes use, so that a thousand rules from one group to
// another are not stored once for each pair of identities in them.
const mergeRules = 64

// pair is the rules from one group to another, by their positions.
type pair struct {
	from, to  uint32
	positions []uint32
	tables    []uint32 // of its own, once built
}

// builder turns groups into classes. A class is a set of pairs of groups; which peers have it
// depends on the workload's identity, its contents do not.
type builder struct {
	t        *Table
	painter  painter
	everyone []uint32   // the groups that every identity is in
	members  [][]uint32 // the other groups of each identity
	pairs    []pair
	// byFrom and byTo are the pairs of each group at one end.
	byFrom, byTo [][]uint32
	classes      map[string]uint32 // by their pairs

	peers   [][]uint32 // scratch: for each group the pairs that connect it to one workload identity
	touched []uint32   // groups that have any
	merged  []uint32
	key     []byte
}

func newBuilder(t *Table) *builder {
	b := &builder{
		t:       t,
		painter: painter{t: t, lists: make(map[string]uint32), covered: make(map[uint32][]uint32)},
		byFrom:  make([][]uint32, len(t.groups)),
		byTo:    make([][]uint32, len(t.groups)),
		classes: make(map[string]uint32),
		peers:   make([][]uint32, len(t.groups)),
	}
	b.memberships()
	index := make(map[uint64]uint32)
	for pos := range t.rules {
		r := &t.rules[pos]
		k := uint64(r.From)<<32 | uint64(r.To)
		n, ok := index[k]
		if !ok {
			n = uint32(len(b.pairs))
			index[k] = n
			b.pairs = append(b.pairs, pair{from: r.From, to: r.To})
			b.byFrom[r.From] = append(b.byFrom[r.From], n)
			b.byTo[r.To] = append(b.byTo[r.To], n)
		}
		b.pairs[n].positions = append(b.pairs[n].positions, uint32(pos))
	}
	return b
}

// memberships collects each identity's groups. There is always an identity 0, that of
// addresses with no match.
func (b *builder) memberships() {
	for i, g := range b.t.groups {
		if g.Any {
			b.everyone = append(b.everyone, uint32(i))
		}
	}
	b.members = make([][]uint32, max(len(b.t.identities), 1))
	for i, id := range b.t.identities {
		for _, g := range id.Groups {
			if !b.t.groups[g].Any && !slices.Contains(b.members[i], g) {
				b.members[i] = append(b.members[i], g)
			}
		}
	}
}

// rows collects the classes of one workload identity.
func (b *builder) rows(own uint32) *rows {
	groups := b.members[own]
	return &rows{
		peers:   b.sides(groups),
		egress:  b.common(groups, b.egress()),
		ingress: b.common(groups, b.ingress()),
	}
}

// view is the pairs in one direction: near is indexed by the group at the workload's end, far
// returns the group at the other.
type view struct {
	near [][]uint32
	far  func(*pair) uint32
}

func (b *builder) egress() view { return view{b.byFrom, func(p *pair) uint32 { return p.to }} }

func (b *builder) ingress() view { return view{b.byTo, func(p *pair) uint32 { return p.from }} }

// sides collects the class of the rules between some groups and each identity, without the
// groups of everyone at the far end.
func (b *builder) sides(groups []uint32) sides {
	return sides{egress: b.row(groups, b.egress()), ingress: b.row(groups, b.ingress())}
}

// row is one direction of sides.
func (b *builder) row(groups []uint32, v view) []uint32 {
	for _, g := range groups {
		for _, n := range v.near[g] {
			f := v.far(&b.pairs[n])
			if len(b.peers[f]) == 0 {
				b.touched = append(b.touched, f)
			}
			b.peers[f] = append(b.peers[f], n)
		}
	}
	row := make([]uint32, len(b.members))
	var found []uint32
	for id, members := range b.members {
		found = found[:0]
		for _, g := range members {
			found = append(found, b.peers[g]...)
		}
		row[id] = b.class(found)
	}
	for _, g := range b.touched {
		b.peers[g] = b.peers[g][:0]
	}
	b.touched = b.touched[:0]
	return row
}

// common returns the class of the rules between some groups or everyone and everyone.
func (b *builder) common(groups []uint32, v view) uint32 {
	var found []uint32
	for _, g := range slices.Concat(groups, b.everyone) {
		for _, n := range v.near[g] {
			if b.t.groups[v.far(&b.pairs[n])].Any {
				found = append(found, n)
			}
		}
	}
	return b.class(found)
}

// class returns the number of the class of a set of pairs, which it sorts: one port table for
// the smallest pairs together, up to mergeRules, one for each of the others.
func (b *builder) class(pairs []uint32) uint32 {
	if len(pairs) == 0 {
		return 0
	}
	slices.SortFunc(pairs, func(x, y uint32) int {
		return cmp.Or(cmp.Compare(len(b.pairs[x].positions), len(b.pairs[y].positions)), cmp.Compare(x, y))
	})
	b.key = b.key[:0]
	for _, n := range pairs {
		b.key = binary.LittleEndian.AppendUint32(b.key, n)
	}
	if n, ok := b.classes[string(b.key)]; ok {
		return n
	}
	key := string(b.key)
	number := b.newClass(pairs)
	b.classes[key] = number
	return number
}

// newClass adds the class of some pairs, smallest first.
func (b *builder) newClass(pairs []uint32) uint32 {
	var tables []uint32
	if n := b.smallest(pairs); n > 1 {
		tables = b.painter.build(b.merge(pairs[:n]), tables)
		pairs = pairs[n:]
	}
	for _, n := range pairs {
		p := &b.pairs[n]
		if p.tables == nil {
			p.tables = b.painter.build(p.positions, nil)
		}
		tables = append(tables, p.tables...)
	}
	if len(tables) == 1 {
		return tables[0] | direct
	}
	b.t.classTables = append(b.t.classTables, tables...)
	b.t.classes = append(b.t.classes, class{uint32(len(b.t.classTables) - len(tables)), uint32(len(tables))})
	return uint32(len(b.t.classes) - 1)
}

// smallest returns how many pairs, from the first on, have at most mergeRules together.
func (b *builder) smallest(pairs []uint32) int {
	rules := 0
	for i, n := range pairs {
		if rules += len(b.pairs[n].positions); rules > mergeRules {
			return i
		}
	}
	return len(pairs)
}

// merge returns the rules of some pairs in order.
func (b *builder) merge(pairs []uint32) []uint32 {
	b.merged = b.merged[:0]
	for _, n := range pairs {
		b.merged = append(b.merged, b.pairs[n].positions...)
	}
	slices.Sort(b.merged)
	return b.merged
}
