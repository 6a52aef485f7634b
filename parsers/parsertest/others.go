package parsertest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/parsers"
)

// Others gives every case below root (root/NAME/testdata and its folders) to every parser of a registry: the one
// that the case belongs to claims it, and no other does, from the beginning of a session and in midstream.
func Others(t *testing.T, reg *parsers.Registry, root string) {
	t.Helper()
	for _, path := range casePaths(t, root) {
		c, err := loadOne(path)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root, path)
		t.Run(filepath.ToSlash(rel), func(t *testing.T) { others(t, reg, &c) })
	}
}

// casePaths returns the paths of all cases below root.
func casePaths(t testing.TB, root string) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"*/testdata/*.case", "*/testdata/*/*.case"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		t.Fatalf("no cases below %s", root)
	}
	return paths
}

func others(t *testing.T, reg *parsers.Registry, c *Case) {
	t.Helper()
	owned := false
	for _, i := range reg.For(c.Meta.Proto) {
		e := reg.Entry(i)
		if c.Negative() || e.ID.Name() == c.Want.Base {
			owned = owned || e.ID.Name() == c.Want.Base
			continue
		}
		for _, midstream := range []bool{c.Meta.Midstream, true} {
			m := c.Meta
			m.Midstream = midstream
			f, err := Replay(e.Parser, e.ID, m, c.Messages)
			if err != nil {
				t.Errorf("%s: %v", e.Parser.Name(), err)
			}
			if f.App != None {
				t.Errorf("%s claims a case of %s (midstream %v):\n%s", e.Parser.Name(), c.Want.Base, midstream, f)
			}
		}
		lingering(t, e.Parser, c)
	}
	if !owned && !c.Negative() {
		t.Logf("no parser of %s is registered", c.Want.Base)
	}
}

// lingering reports of parsers that cannot make up their mind on a whole conversation
// that is none of theirs: they delay those that can.
func lingering(t *testing.T, p parsers.Parser, c *Case) {
	t.Helper()
	if c.Meta.Datagram() {
		return
	}
	var undecided []string
	for dir := range parsers.Dir(2) {
		head := join(c.Messages, dir)
		if len(head) == 0 {
			continue
		}
		if p.Probe(&c.Meta, dir, head) == parsers.No {
			return
		}
		undecided = append(undecided, dir.String())
	}
	if len(undecided) > 0 && len(join(c.Messages, 0))+len(join(c.Messages, 1)) >= 64 {
		t.Errorf("%s still cannot rule out a case of %s (%s)", p.Name(), c.Want.Base, strings.Join(undecided, ", "))
	}
}
