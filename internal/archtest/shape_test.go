package archtest_test

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// Limits of size: a file that needs more is two ideas, or has a reason in large.
const (
	maxFile     = 400
	maxFunction = 60
)

// large are files and functions that may be larger, each with its reason.
var large = map[string]string{}

func TestSizes(t *testing.T) {
	set, files := load(t)
	for _, f := range files {
		if f.generated {
			continue
		}
		name := f.dir + "/" + f.name
		if f.lines > maxFile && large[name] == "" {
			t.Errorf("%s has %d lines, at most %d", name, f.lines, maxFile)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			n := set.Position(fn.Body.Rbrace).Line - set.Position(fn.Pos()).Line + 1
			// A test function is mostly its table of cases; its code is what the limit is for.
			n -= tableLines(set, fn, f.test)
			if n > maxFunction && large[name+":"+fn.Name.Name] == "" {
				t.Errorf("%s: %s has %d lines, at most %d", name, fn.Name.Name, n, maxFunction)
			}
		}
	}
}

// tableLines counts the lines of a test function's composite literals that span several lines.
func tableLines(set *token.FileSet, fn *ast.FuncDecl, test bool) int {
	if !test {
		return 0
	}
	n := 0
	ast.Inspect(fn.Body, func(x ast.Node) bool {
		c, ok := x.(*ast.CompositeLit)
		if !ok {
			return true
		}
		n += set.Position(c.Rbrace).Line - set.Position(c.Lbrace).Line
		return false
	})
	return n
}

func TestPackageComments(t *testing.T) {
	_, files := load(t)
	docs := map[string]string{}
	seen := map[string]string{}
	for _, f := range files {
		if f.test || f.generated {
			continue
		}
		seen[f.dir] = f.ast.Name.Name
		if f.ast.Doc != nil {
			docs[f.dir] = f.ast.Doc.Text()
		}
	}
	for dir, name := range seen {
		text := docs[dir]
		switch {
		case text == "":
			t.Errorf("%s: no package comment", dir)
		case name != "main" && !strings.HasPrefix(text, "Package "+name+" "):
			t.Errorf("%s: the package comment begins %.30q, want \"Package %s \"", dir, text, name)
		}
	}
}

func TestNoInit(t *testing.T) {
	_, files := load(t)
	for _, f := range files {
		if f.generated {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s/%s: init function: register by value instead", f.dir, f.name)
			}
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	_, files := load(t)
	for _, f := range files {
		if f.test || f.generated {
			continue
		}
		for _, d := range f.ast.Decls {
			for _, n := range undocumented(d) {
				t.Errorf("%s/%s: %s has no comment", f.dir, f.name, n)
			}
		}
	}
}

// undocumented lists the exported names of a declaration that nothing is docs about.
func undocumented(d ast.Decl) []string {
	var out []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || receiverExported(d.Recv)) {
			out = append(out, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					out = append(out, s.Name.Name)
				}
			case *ast.ValueSpec:
				if d.Doc == nil && s.Doc == nil && s.Comment == nil && s.Names[0].IsExported() && !d.Lparen.IsValid() {
					out = append(out, s.Names[0].Name)
				}
			}
		}
	}
	return out
}

func receiverExported(r *ast.FieldList) bool {
	e := r.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}
