package policy

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// mergeRules is up to how many rules some pairs of groups share one port table. Larger pairs
// keep one of their own, which all classes use, so that a thousand rules from any to
// any are not written once for each pair of identities.
const mergeRules = 64

// pair is the rules from one group to another, by their places.
type pair struct {
	from, to  uint32
	positions []uint32
	tables    []uint32 // of its own, once built
}

// builder turns groups into classes. A class is a set of pairs of groups; which peers
// have it depends on the workload's identity, what it says does not.
type builder struct {
	t        *Table
	painter  painter
	everyone []uint32   // the groups that every identity is in
	members  [][]uint32 // the other groups of each identity
	pairs    []pair
	// byFrom and byTo are the pairs of each group at one end.
	byFrom, byTo [][]uint32
	classes      map[string]uint32   // by common and particular pairs
	parts        map[string][]uint32 // merged port tables, by pairs

	peers   [][]uint32 // scratch: for each group the pairs that lead to it from one workload identity
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
		parts:   make(map[string][]uint32),
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

// memberships finds each identity's groups. There is always an identity 0, because
// addresses that nothing matches have it.
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

// rows finds the class of every peer of one workload identity, in both directions.
func (b *builder) rows(own uint32) *rows {
	return &rows{
		egress:  b.row(own, b.byFrom, func(p *pair) uint32 { return p.to }),
		ingress: b.row(own, b.byTo, func(p *pair) uint32 { return p.from }),
	}
}

// row is one direction of rows: near is the pairs by the workload's end, far the group at the
// other.
func (b *builder) row(own uint32, near [][]uint32, far func(*pair) uint32) []uint32 {
	for _, g := range slices.Concat(b.everyone, b.members[own]) {
		for _, n := range near[g] {
			f := far(&b.pairs[n])
			if len(b.peers[f]) == 0 {
				b.touched = append(b.touched, f)
			}
			b.peers[f] = append(b.peers[f], n)
		}
	}
	var common, particular []uint32
	for _, g := range b.everyone {
		common = append(common, b.peers[g]...)
	}
	slices.Sort(common)
	row := make([]uint32, len(b.members))
	for id, groups := range b.members {
		particular = particular[:0]
		for _, g := range groups {
			particular = append(particular, b.peers[g]...)
		}
		slices.Sort(particular)
		row[id] = b.class(common, particular)
	}
	for _, g := range b.touched {
		b.peers[g] = b.peers[g][:0]
	}
	b.touched = b.touched[:0]
	return row
}

// class is the number of the class of two sets of pairs: those that all peers of a workload
// have in common, and those that are particular to the peer. They are not merged with
// each other, so that the common part exists once.
func (b *builder) class(common, particular []uint32) uint32 {
	b.key = appendPairs(b.key[:0], common)
	b.key = binary.LittleEndian.AppendUint32(b.key, math.MaxUint32)
	b.key = appendPairs(b.key, particular)
	if n, ok := b.classes[string(b.key)]; ok {
		return n
	}
	number := uint32(len(b.t.classes))
	b.classes[string(b.key)] = number
	first := uint32(len(b.t.classTables))
	b.part(common)
	b.part(particular)
	b.t.classes = append(b.t.classes, class{first, uint32(len(b.t.classTables)) - first})
	return number
}

// part adds the port tables of some pairs to the last class: one for the smallest pairs together,
// one for each of the others.
func (b *builder) part(pairs []uint32) {
	pairs = slices.Clone(pairs)
	slices.SortFunc(pairs, func(x, y uint32) int {
		return cmp.Or(cmp.Compare(len(b.pairs[x].positions), len(b.pairs[y].positions)), cmp.Compare(x, y))
	})
	merge, rules := 0, 0
	for _, n := range pairs {
		if rules += len(b.pairs[n].positions); rules > mergeRules {
			break
		}
		merge++
	}
	if merge > 1 {
		b.t.classTables = append(b.t.classTables, b.merge(pairs[:merge])...)
		pairs = pairs[merge:]
	}
	for _, n := range pairs {
		p := &b.pairs[n]
		if p.tables == nil {
			p.tables = b.painter.build(p.positions, nil)
		}
		b.t.classTables = append(b.t.classTables, p.tables...)
	}
}

// merge is the port tables of the rules of some pairs together; the same pairs get the same.
func (b *builder) merge(pairs []uint32) []uint32 {
	b.key = appendPairs(b.key[:0], pairs)
	if tables, ok := b.parts[string(b.key)]; ok {
		return tables
	}
	b.merged = b.merged[:0]
	for _, n := range pairs {
		b.merged = append(b.merged, b.pairs[n].positions...)
	}
	slices.Sort(b.merged)
	tables := b.painter.build(b.merged, nil)
	b.parts[string(b.key)] = tables
	return tables
}

// appendPairs writes a list of pairs as part of a map's key.
func appendPairs(key []byte, pairs []uint32) []byte {
	for _, n := range pairs {
		key = binary.LittleEndian.AppendUint32(key, n)
	}
	return key
}
