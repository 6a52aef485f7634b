package archtest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// dialect are expressions of a private dialect, with plain technical English for each. docs/glossary.md
// has the terms to use. Patterns are matched against comments, strings and documents, line by line.
var dialect = []struct {
	pattern *regexp.Regexp
	better  string
}{
	{regexp.MustCompile(`(?i)\bsa(ys?|id|ying) (whether|why|that|how|what|which|who|where|so)\b`), "reports whether, returns the reason, shows"},
	{regexp.MustCompile(`\b([Tt]ells|tell|[Tt]old|[Tt]elling)\b`), "is reported, reports, distinguishes"},
	{regexp.MustCompile(`(?i)\b(hears|heard)\b`), "received, observed"},
	{regexp.MustCompile(`(?i)\bstands? before\b`), "precedes, before"},
	{regexp.MustCompile(`(?i)\b(cannot|not|to|can) be had\b`), "is unavailable"},
	{regexp.MustCompile(`(?i)\bfor want of\b`), "because there is no"},
	{regexp.MustCompile(`(?i)\b(somebody|anybody|nobody)('s)?\b`), "the noun: no process, another user, unidentified, unjudged"},
	{regexp.MustCompile(`(?i)\bpeople('s)?\b`), "users, operators"},
	{regexp.MustCompile(`(?i)\bways? of (being attached|attaching)\b|\b(both|old|new|inline) ways? (stands?|lets?|judges?)\b|\bway of a frame\b`), "datapath, method, packet path"},
	{regexp.MustCompile(`(?i)\b(wings?|glimpses?|farewells?|unhang)\b`), "halfConn, offloadedSegment, drain, unlink"},
	{regexp.MustCompile(`(?i)\b(one life|life of an agent|(earlier|next|old|previous|former|its last) (life|lives)|lives before)\b`), "run, previous runs"},
	{regexp.MustCompile(`(?i)\banother leads\b|\b(one|who|controller) that leads\b|\bnobody leads\b|\bst(ands|anding|and|ood) by\b`), "leader, not the leader, standby"},
	{regexp.MustCompile(`(?i)\bgarbage\b`), "protocol violation, malformed data"},
	{regexp.MustCompile(`(?i)\b(is|are|was|were|be|been|not) let in\b`), "accepted, rejected"},
	{regexp.MustCompile(`(?i)\banew\b`), "again, empty"},
	{regexp.MustCompile(`(?i)\b(systems?|servers?|programs?) of the field\b`), "the name"},
	{regexp.MustCompile(`(?i)\bcounts? twice\b`), "is counted twice"},
	{regexp.MustCompile(`(?i)\bl(ies|ay|ie) in\b`), "is stored in"},
	{regexp.MustCompile(`(?i)\b(goes|go|going|went|gone) on\b`), "continues, passes"},
	{regexp.MustCompile(`^shown in status`), "the warning itself"},
}

// trueUses are lines in which such an expression means something else, or is not the project's own text:
// "folder" begins the path, "text" is in the line. An entry that matches no line is an error.
var trueUses = []struct{ folder, text, reason string }{
	{"docs/glossary.md", "", "lists words that are not used"},
	{"", "garbage collect", "the garbage collector"},
	{"parsers/mail/mail_test.go", "331 go on", "an FTP server's reply"},
	{"core/path/related_test.go", "tell me more", "a payload"},
}

// accounts are uses of the account nobody of Linux, which are taken out before a line is checked.
var accounts = regexp.MustCompile("\"nobody\"|`nobody`|\\bnobody:|(account|user) nobody|^nobody$")

// vagueMethods are verbs that need an object: sendSpooled rather than send, detachExpired.
var vagueMethods = []string{"take", "tell", "put", "keep", "end", "leave", "hear", "ask", "settle", "look", "note", "know", "say"}

// metaphors are names of types and functions that mean something else everywhere else.
var metaphors = []string{"look", "wing", "glimpse", "farewell", "hang", "unhang", "way"}

// plainMethods are methods of one such verb that stay, each with its reason.
var plainMethods = map[string]string{
	"Settle": "core/backend.Queue: the batch is its object",
	"Tell":   "parsers.Teller, an interface that plugins of others implement",
	"End":    "detect.Remote and its callers: ends the session that is the parameter",
	"Note":   "agent/hostmode: a noun, the note of a watcher",
	"Leave":  "the counterpart of entering: a gate, the kernel's flows, the workloads",
	"leave":  "the counterpart of enter, of a gate",
	"Ask":    "core/handover.Gate: asks the gate about the frame that is the parameter",
	"ask":    "core/handover.Gate: asks the gate about the frame that is the parameter",
	"Take":   "core/hold.Room: takes packets out, the counterpart of Put",
	"Keep":   "core/stream.Assembler: keeps what was not consumed",
	"Put":    "pools and outboxes: the counterpart of Get, as in sync.Pool",
}

// finding is one expression in a text.
type finding struct{ text, better string }

// plain reports the expressions of the dialect in one text, line by line.
func plain(text string) []finding {
	var out []finding
	for line := range strings.SplitSeq(text, "\n") {
		line = accounts.ReplaceAllString(strings.TrimSpace(line), "")
		for _, d := range dialect {
			if m := d.pattern.FindString(line); m != "" {
				out = append(out, finding{m + ": " + line, d.better})
			}
		}
	}
	return out
}

// gear are the folders of what only tests use. Their methods, and those of test files, may have plain verbs as names.
var gear = []string{"internal/stage/", "store/storetest/", "backends/backendtest/", "parsers/parsertest/"}

// isGear reports whether only tests use a file.
func isGear(f *file) bool {
	return f.test || slices.ContainsFunc(gear, func(dir string) bool { return strings.HasPrefix(f.dir+"/", dir) })
}

// testPrefix matches the names of tests.
var testPrefix = regexp.MustCompile("^(Test|Benchmark|Fuzz|Example)")

// words are the words of a name in camel case.
var words = regexp.MustCompile("[A-Z]?[a-z0-9]+|[A-Z]+")

// plainGo reports the expressions in comments, strings and names of a Go file; of gear, in the names of tests alone.
func plainGo(f *ast.File, gear bool) []finding {
	var out []finding
	for _, g := range f.Comments {
		for _, c := range g.List {
			if !strings.HasPrefix(c.Text, "//go:") {
				out = append(out, plain(strings.TrimLeft(c.Text, "/* "))...)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if s, err := strconv.Unquote(x.Value); err == nil && x.Kind == token.STRING {
				out = append(out, plain(s)...)
			}
		case *ast.FuncDecl:
			if gear && !testPrefix.MatchString(x.Name.Name) {
				break
			}
			if gear {
				out = append(out, plain(strings.ToLower(strings.Join(words.FindAllString(x.Name.Name, -1), " ")))...)
			} else {
				out = append(out, plainName(x.Name.Name, x.Recv != nil)...)
			}
		case *ast.TypeSpec:
			if !gear {
				out = append(out, plainName(x.Name.Name, false)...)
			}
		case *ast.InterfaceType:
			if gear {
				break
			}
			for _, m := range x.Methods.List {
				for _, name := range m.Names {
					out = append(out, plainName(name.Name, true)...)
				}
			}
		}
		return true
	})
	return out
}

// plainName reports what is wrong with the name of a type, function or method.
func plainName(name string, method bool) []finding {
	lower := strings.ToLower(name)
	switch {
	case slices.Contains(metaphors, lower):
		return []finding{{"name " + name, "the noun: packetContext, halfConn, datapath"}}
	case method && slices.Contains(vagueMethods, lower) && plainMethods[name] == "":
		return []finding{{"method " + name, "a verb with its object: sendSpooled, detachExpired"}}
	}
	return nil
}

// plainDocument reports the expressions in a Markdown or proto file, without code blocks.
func plainDocument(text string) []finding {
	var out []finding
	code := false
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if !code {
			out = append(out, plain(line)...)
		}
	}
	return out
}

func TestPlainEnglish(t *testing.T) {
	_, files := load(t)
	used := make([]bool, len(trueUses))
	report := func(name string, fs []finding) {
	next:
		for _, f := range fs {
			for i, a := range trueUses {
				if strings.HasPrefix(name, a.folder) && strings.Contains(strings.ToLower(f.text), a.text) {
					used[i] = true
					continue next
				}
			}
			t.Errorf("%s: %s: better: %s", name, f.text, f.better)
		}
	}
	for _, f := range files {
		if name := f.dir + "/" + f.name; !f.generated && name != "internal/archtest/english_test.go" {
			report(name, plainGo(f.ast, isGear(&f)))
		}
	}
	docs := documents(t, ".md", ".proto")
	for name, text := range docs {
		report(name, plainDocument(text))
	}
	if len(docs) < 20 {
		t.Errorf("only %d documents found", len(docs))
	}
	for i, a := range trueUses {
		if !used[i] {
			t.Errorf("trueUses: %q in %q is not used any more: take it away", a.text, a.folder)
		}
	}
}

// TestPlainEnglishFinds plants an example of each kind in comments, strings, help, names and documents.
func TestPlainEnglishFinds(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"says whether", "Open says whether a port is open.", 1},
		{"reports whether", "Open reports whether a port is open.", 0},
		{"passive tell", "the agent is told about it", 1},
		{"tell as a verb", "the counters cannot tell them apart", 1},
		{"tells", "The header tells the length", 1},
		{"interface Tell", "Tell implements parsers.Teller.", 0},
		{"heard", "what was heard on lo", 1},
		{"cannot be had", "a backend that cannot be had", 1},
		{"for want of", "passed for want of a heartbeat", 1},
		{"nobody", "what nobody could name", 1},
		{"the account", `runs as "nobody", the account nobody`, 0},
		{"people", "people's rules", 1},
		{"way", "each way of attaching, both ways stand", 1},
		{"metaphor", "the wing of a session", 1},
		{"life", "one life of an agent", 1},
		{"life cycle", "the life cycle of a session", 0},
		{"standing by", "it is standing by", 1},
		{"standby", "a standby passes calls to the leader", 0},
		{"garbage", "it answers garbage", 1},
		{"let in", "the caller is not let in", 1},
		{"anew", "history unreadable, beginning anew", 1},
		{"lies in", "the table lies in the heap", 1},
		{"goes on", "it goes on", 1},
		{"continues", "it continues", 0},
		{"counts twice", "it counts twice", 1},
		{"counted twice", "a frame is counted twice", 0},
		{"the field", "the best-known system of the field", 1},
		{"a field", "the name of the field that is wrong", 0},
		{"status", "shown in status: web", 1},
	} {
		if got := plain(c.text); len(got) != c.want {
			t.Errorf("%s: %q: %d findings, want %d: %v", c.name, c.text, len(got), c.want, got)
		}
	}
	const planted = `package p
import "fmt" // plain
// look says whether it is so.
type look struct{}
func (l *look) tell() error { return fmt.Errorf("open: the file cannot be had") }
func (l *look) sendSpooled() { flag("wait", "how long it goes on") }
type q interface { Hear() }
`
	tree, err := parser.ParseFile(token.NewFileSet(), "planted.go", planted, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range plainGo(tree, false) {
		got = append(got, f.text)
	}
	want := []string{"says whether: look says whether it is so.", "name look", "method tell", "cannot be had: open: the file cannot be had",
		"goes on: how long it goes on", "method Hear"}
	if !slices.Equal(got, want) {
		t.Errorf("planted file:\n%q\nwant\n%q", got, want)
	}
	tests := "package p\n// plain\nfunc TestSessionGoesOn() { t.Error(\"nobody there\") }\nfunc (q) take() {}\n"
	if tree, err = parser.ParseFile(token.NewFileSet(), "planted_test.go", tests, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		t.Fatal(err)
	}
	if got := plainGo(tree, true); len(got) != 2 || got[0].text != "goes on: test session goes on" || got[1].text != "nobody: nobody there" {
		t.Errorf("planted test: %v, want a name and a message", got)
	}
	doc := "# Title\nIt stands by.\n```\nit stands by\n```\n| it | lies in the store |\n"
	if got := plainDocument(doc); len(got) != 2 {
		t.Errorf("planted document: %v, want 2 findings", got)
	}
}
