package parsertest

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// FuzzProbe checks the contract of Probe for every parser of a registry, on the same bytes: beginning with all cases
// below root, those of each protocol go to all parsers. An answer other than More is final for every longer
// head, depends on the bytes alone, and no probe writes to the head.
func FuzzProbe(f *testing.F, reg *parsers.Registry, root string) {
	for _, path := range casePaths(f, root) {
		c, err := loadOne(path)
		if err != nil {
			f.Fatal(err)
		}
		var flags uint8
		if c.Meta.Datagram() {
			flags |= flagUDP
		}
		if c.Meta.Midstream {
			flags |= flagMidstream
		}
		for dir := range parsers.Dir(2) {
			f.Add(uint64(len(path)), flags, uint8(dir), join(c.Messages, dir))
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64, flags, dir uint8, head []byte) {
		m := defaultMeta()
		if m.Midstream = flags&flagMidstream != 0; flags&flagUDP != 0 {
			m.Proto = 17
		}
		head = head[:min(len(head), parsers.MaxHead)]
		for _, i := range reg.For(m.Proto) {
			e := reg.Entry(i)
			probeContract(t, e, &m, parsers.Dir(dir&1), head, seed)
		}
	})
}

// probeContract probes one parser with every short head, some long ones, and one with foreign bytes behind it.
func probeContract(t *testing.T, e *parsers.Entry, m *parsers.Meta, dir parsers.Dir, head []byte, seed uint64) {
	t.Helper()
	before := bytes.Clone(head)
	if m.Datagram() {
		if a, b := e.Parser.Probe(m, dir, head), e.Parser.Probe(m, dir, before); a != b {
			t.Fatalf("%s %s: got %s, then %s for the same datagram", e.Parser.Name(), dir, a, b)
		}
	} else {
		named(t, e.ID, func() { monotone(t, e.Parser, m, dir, head) })
		rng := rand.New(rand.NewPCG(seed, 2))
		if keep := rng.IntN(len(head) + 1); len(head) > 0 {
			mixed := append(bytes.Clone(head[:keep]), junks()["mixed"]...)
			named(t, e.ID, func() { monotone(t, e.Parser, m, dir, mixed[:min(len(mixed), parsers.MaxHead)]) })
		}
	}
	if !bytes.Equal(head, before) {
		t.Fatalf("%s %s: probe wrote to the head", e.Parser.Name(), dir)
	}
}

// named runs a check and logs the parser's name if it fails.
func named(t *testing.T, id app.ID, check func()) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("parser %s", id.Name())
		}
	}()
	check()
}
