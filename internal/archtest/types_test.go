package archtest_test

import (
	"go/ast"
	"maps"
	"slices"
	"testing"
)

// Limits of one type: what needs more is several things.
const (
	maxFields  = 20
	maxMethods = 25
)

// wide are types that may be larger, each with its reason; "dir.Type".
var wide = map[string]string{
	"core/flow.Record":             "the one record of a flow: each field is a fact about it",
	"core/packet.Packet":           "a decoded packet: each field is one of its headers'; Decode fills it in place",
	"core/session.Session":         "one cache-friendly struct without pointers for each connection",
	"controller/graph.Observation": "a record as the graph adds it up",
	"cmd/sluice.connectionView":    "the JSON of one connection",
	"cmd/sluice.eventView":         "the JSON of one event",
	"core/path.lifecycle":          "what happens to a session, one method for each event of its life",
	"core/engine.Engine":           "the owner of endpoints and workers: its public methods are what an agent does with it",
	"core/identify.Pool":           "one method for each thing that a path does with a session's bytes",
	"cmd/sluice.replaySession":     "the JSON of one session",
	"backends/pcapfile.carrier":    "one small method for each kind of encapsulation",
	"cmd/sluice.cli":               "one method for each command",
}

// typeSize is how large one type is.
type typeSize struct{ fields, methods int }

// sizesOfTypes counts the fields of structs, an embedded one as one, and the methods by the base type of
// their receiver.
func sizesOfTypes(files []file) map[string]typeSize {
	sizes := map[string]typeSize{}
	for _, f := range files {
		if f.generated || f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					continue
				}
				name := f.dir + "." + receiverName(d.Recv)
				s := sizes[name]
				s.methods++
				sizes[name] = s
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					t, ok := spec.(*ast.TypeSpec)
					if !ok {
						continue
					}
					st, ok := t.Type.(*ast.StructType)
					if !ok {
						continue
					}
					name := f.dir + "." + t.Name.Name
					s := sizes[name]
					for _, field := range st.Fields.List {
						s.fields += max(len(field.Names), 1)
					}
					sizes[name] = s
				}
			}
		}
	}
	return sizes
}

// receiverName is the base type of a receiver.
func receiverName(r *ast.FieldList) string {
	e := r.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func TestTypeSizes(t *testing.T) {
	_, files := load(t)
	sizes := sizesOfTypes(files)
	if len(sizes) < 100 {
		t.Fatalf("only %d types found", len(sizes))
	}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		s := sizes[name]
		over := s.fields > maxFields || s.methods > maxMethods
		switch reason, listed := wide[name]; {
		case over && !listed:
			t.Errorf("%s has %d fields and %d methods, at most %d and %d", name, s.fields, s.methods, maxFields, maxMethods)
		case over && reason == "":
			t.Errorf("%s: its exception has no reason", name)
		case !over && listed:
			t.Errorf("%s is not over the limits any more: take its exception away", name)
		}
	}
	for name := range wide {
		if _, ok := sizes[name]; !ok {
			t.Errorf("%s has an exception and is not there", name)
		}
	}
}
