package archtest_test

import (
	"go/ast"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents reads the files of the tree with one of the endings, by their path from the root.
func documents(t *testing.T, endings ...string) map[string]string {
	t.Helper()
	root := filepath.Join("..", "..")
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n := d.Name(); d.IsDir() && (n == "node_modules" || n == "testdata" || n == "bin" || strings.HasPrefix(n, ".") && n != "." && n != "..") {
			return filepath.SkipDir
		}
		if d.IsDir() || !slices.Contains(endings, filepath.Ext(p)) {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		out[filepath.ToSlash(rel)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var (
	// testName is a test that a document names.
	testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)`")
	// absolute is a promise, which needs a test.
	absolute = regexp.MustCompile(`(?i)\b(never|always)\b|\bno connection (is|that|will)\b`)
	// link is a link to another place of the documents.
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// notInAnchor are characters that an anchor leaves out.
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// promises are paragraphs with such a word that promise nothing, by a part of their text.
var promises = map[string]string{
	"always 1":                "metrics.md: the value of an info metric",
	"never an outcome":        "a definition",
	"identification never re": "performance.md: the bound of core/detect",
}

// paragraphs cuts a document into paragraphs, items of lists and rows of tables, without code blocks.
func paragraphs(text string) []string {
	var out []string
	code, open := false, false
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			code, open = !code, false
		case code:
		case line == "":
			open = false
		case open && !strings.HasPrefix(line, "- ") && !strings.HasPrefix(line, "|"):
			out[len(out)-1] += " " + line
		default:
			out, open = append(out, line), true
		}
	}
	return out
}

// TestDocumentsNameTests checks that tests which documents name exist, and that a paragraph with a
// promise names one.
func TestDocumentsNameTests(t *testing.T) {
	_, files := load(t)
	tests := map[string]bool{}
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test && fn.Recv == nil {
				tests[fn.Name.Name] = true
			}
		}
	}
	named := 0
	used := map[string]bool{}
	for name, text := range documents(t, ".md") {
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			named++
			if !tests[m[1]] {
				t.Errorf("%s names %s, which is no test", name, m[1])
			}
		}
		if !strings.HasPrefix(name, "docs/") && name != "README.md" {
			continue
		}
		for _, p := range paragraphs(text) {
			if m := absolute.FindString(p); m != "" && !testName.MatchString(p) && !excused(p, used) {
				t.Errorf("%s promises %q without the test that checks it: %.120s", name, m, p)
			}
		}
	}
	for text := range promises {
		if !used[text] {
			t.Errorf("promises: %q is not used any more: take it away", text)
		}
	}
	if named < 20 {
		t.Errorf("documents name only %d tests", named)
	}
}

func excused(paragraph string, used map[string]bool) bool {
	for text := range promises {
		if strings.Contains(paragraph, text) {
			used[text] = true
			return true
		}
	}
	return false
}

func TestParagraphs(t *testing.T) {
	got := paragraphs("# A\n\none\ntwo\n- three\n  four\n- five\n```\nnever\n```\n| six |\n| seven |\n")
	want := []string{"# A", "one two", "- three four", "- five", "| six |", "| seven |"}
	if !slices.Equal(got, want) {
		t.Errorf("paragraphs %q, want %q", got, want)
	}
}

// TestDocumentLinks checks that links between documents lead somewhere, anchors included.
func TestDocumentLinks(t *testing.T) {
	docs := documents(t, ".md")
	anchors := map[string]map[string]bool{}
	for name, text := range docs {
		anchors[name] = map[string]bool{}
		for line := range strings.SplitSeq(text, "\n") {
			if title := strings.TrimLeft(line, "#"); title != line {
				a := notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
				anchors[name][strings.ReplaceAll(a, " ", "-")] = true
			}
		}
	}
	for name, text := range docs {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			to := name
			if file != "" {
				to = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(filepath.Join("..", "..", to)); err != nil {
				t.Errorf("%s: link to %s: no such file", name, m[1])
			} else if anchor != "" && !anchors[to][anchor] {
				t.Errorf("%s: link to %s: no such title", name, m[1])
			}
		}
	}
}
