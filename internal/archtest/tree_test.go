package archtest_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/sluicenet/sluice/"

// file is one parsed source file; dir is its folder relative to the root, with slashes.
type file struct {
	dir, name string
	lines     int
	test      bool
	generated bool
	ast       *ast.File
}

// load walks the tree with go/parser. It reads every file itself, so that a cached
// result is never taken for a fresh one.
func load(t *testing.T) (*token.FileSet, []file) {
	t.Helper()
	root := filepath.Join("..", "..")
	set := token.NewFileSet()
	var files []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n == "node_modules" || n == "testdata" || n == "bin" || strings.HasPrefix(n, ".") && n != "." && n != ".." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		tree, err := parser.ParseFile(set, p, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		files = append(files, file{
			dir: path.Dir(rel), name: path.Base(rel), lines: bytes.Count(src, []byte("\n")),
			test: strings.HasSuffix(rel, "_test.go"), generated: ast.IsGenerated(tree), ast: tree,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d source files found: the walk does not reach the tree", len(files))
	}
	return set, files
}

// imports lists the project's own packages that a file imports, without the module's name.
func (f *file) imports() []string {
	var out []string
	for _, i := range f.ast.Imports {
		if p := strings.Trim(i.Path.Value, `"`); strings.HasPrefix(p, module) {
			out = append(out, strings.TrimPrefix(p, module))
		}
	}
	return out
}
