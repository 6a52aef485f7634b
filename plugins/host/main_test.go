package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	parserv1 "github.com/sluicenet/sluice/api/parser/v1"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/plugins/host"
	"github.com/sluicenet/sluice/plugins/sdk"
	"github.com/sluicenet/sluice/plugins/wire"
)

// roleKey is how the test program, started again as a plugin, knows what to be.
const roleKey = "SLUICE_TEST_PLUGIN"

func TestMain(m *testing.M) {
	role := os.Getenv(roleKey)
	if role == "" {
		role = markOf("/proc/self/exe")
	}
	switch role {
	case "":
		os.Exit(m.Run())
	case "exits":
		fmt.Fprintln(os.Stderr, "no configuration")
		os.Exit(3)
	case "hangs":
		time.Sleep(time.Hour)
	case "foreign":
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "OTHER", MagicCookieValue: "cookie"},
			Plugins: plugin.PluginSet{wire.PluginKind: malformed{}}, GRPCServer: plugin.DefaultGRPCServer})
	case "newer":
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: wire.Format + 1, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
			Plugins: plugin.PluginSet{wire.PluginKind: malformed{}}, GRPCServer: plugin.DefaultGRPCServer})
	case "says":
		fmt.Println("stdout before")
		fmt.Fprintln(os.Stderr, "stderr before")
		fmt.Fprintln(os.Stderr, sdk.Serve("says", sdk.Protocol{Parser: says{}, On: sdk.TCP}))
	case "line2":
		fmt.Fprintln(os.Stderr, sdk.Serve("line2", sdk.Protocol{Parser: line2{}, On: sdk.TCP}))
	case "standard":
		reg, err := builtin.Registry()
		if err != nil {
			panic(err)
		}
		sdk.ServeRegistry("standard", reg)
	case "line":
		fmt.Fprintln(os.Stderr, sdk.Serve("line", sdk.Protocol{Parser: line{}, On: sdk.TCP}))
	case "leak":
		fmt.Fprintln(os.Stderr, sdk.Serve("leak", sdk.Protocol{Parser: &leak{}, On: sdk.TCP}))
	case "undecided":
		fmt.Fprintln(os.Stderr, sdk.Serve("undecided", sdk.Protocol{Parser: undecided{}, On: sdk.TCP | sdk.UDP}))
	case "parent":
		h, err := host.Start(context.Background(), host.Config{Plugins: roles("standard")})
		if err != nil {
			panic(err)
		}
		fmt.Println(h.Status()[0].PID)
		select {}
	case "malformed":
		serveGarbage()
	}
	os.Exit(1)
}

// says does what the first bytes of a client ask for.
type says struct{}

func (says) Name() string { return "test-says" }

func (says) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	word, _, _ := strings.Cut(string(head), "\n")
	switch word {
	case "NAME":
		return parsers.Certain
	case "PANIC":
		_ = head[len(head)]
	case "SAY":
		fmt.Println("stdout after")
		fmt.Fprintln(os.Stderr, "stderr after")
		log.Print("log after")
		fmt.Fprintln(os.Stderr, strings.Repeat("x", 5000))
	case "FLOOD":
		for i := range 2000 {
			fmt.Fprintln(os.Stderr, "flood", i)
		}
	case "EXIT":
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(4)
	case "CRASH":
		go func() { panic("crash of all") }()
		time.Sleep(time.Second)
	case "FORK":
		child := exec.Command("/bin/sleep", "300")
		child.Stdout, child.Stderr = os.NewFile(1, ""), os.NewFile(2, "")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		fmt.Fprintln(os.Stderr, "forked", child.Start())
	}
	return parsers.No
}

func (p says) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return lineStream{sink}
}

// line2 is line in a later version: its client may begin with LIN2, too.
type line2 struct{ line }

func (p line2) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if bytes.HasPrefix(head, []byte("LIN2 ")) {
		return parsers.Certain
	}
	return p.line.Probe(m, dir, head)
}

// mark is written behind a copy of this program to make it play a role.
const mark = "\nsluice-test-role:"

// markOf is the role of a copy; "" for the program itself.
func markOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	end := make([]byte, 64)
	if info, err := f.Stat(); err != nil || info.Size() < int64(len(end)) {
		return ""
	} else if _, err := f.ReadAt(end, info.Size()-int64(len(end))); err != nil {
		return ""
	}
	_, role, _ := strings.Cut(string(end), mark)
	return role
}

// install puts a copy of this program that plays a role into a folder, as install(1) does: the file of that name is removed
// first, and the new one is not executable before it is whole.
func install(t testing.TB, dir, name, role string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, name)
	_ = os.Remove(path)
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(to, from); err == nil {
		_, err = io.WriteString(to, mark+role)
	}
	if err := errors.Join(err, to.Chmod(0o755), to.Close()); err != nil {
		t.Fatal(err)
	}
}

// folder is a plugin folder.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// journal is a log that tests read.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// lines are those that contain a text.
func (j *journal) lines(text string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for l := range strings.SplitSeq(j.b.String(), "\n") {
		if strings.Contains(l, text) {
			out = append(out, l)
		}
	}
	return out
}

// line is a third party's protocol: its client begins with LINE, and its parser claims GET too, but less surely.
type line struct{}

func (line) Name() string { return "test-line" }

func (line) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	for _, w := range []struct {
		word string
		m    parsers.Match
	}{{"LINE ", parsers.Certain}, {"GET ", parsers.Likely}} {
		switch n := min(len(head), len(w.word)); {
		case dir == parsers.ToServer && string(head[:n]) == w.word[:n] && n < len(w.word):
			return parsers.More
		case dir == parsers.ToServer && string(head[:n]) == w.word:
			return w.m
		}
	}
	return parsers.No
}

func (line) Open(_ *parsers.Meta, sink parsers.Sink) parsers.Stream { return lineStream{sink} }

type lineStream struct{ sink parsers.Sink }

func (s lineStream) Parse(_ parsers.Dir, data []byte) parsers.Result {
	s.sink.Attr(parsers.Command, bytes.TrimSpace(data))
	return parsers.Result{Used: len(data), State: parsers.Done}
}
func (lineStream) Gap(parsers.Dir, int) bool { return false }
func (lineStream) Close()                    {}

// undecided always wants more bytes.
type undecided struct{}

func (undecided) Name() string { return "test-undecided" }

func (undecided) Probe(*parsers.Meta, parsers.Dir, []byte) parsers.Match { return parsers.More }

func (p undecided) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (undecided) Tell(*parsers.Meta, parsers.Dir, []byte, parsers.Sink) {}

// leak never gives memory back.
type leak struct{ kept [][]byte }

func (*leak) Name() string { return "test-leak" }

func (l *leak) Probe(*parsers.Meta, parsers.Dir, []byte) parsers.Match {
	l.kept = append(l.kept, bytes.Repeat([]byte{1}, 16<<20))
	return parsers.No
}

func (*leak) Open(*parsers.Meta, parsers.Sink) parsers.Stream { return nil }

// malformed describes itself well and then answers nonsense.
type malformed struct {
	parserv1.UnimplementedParserServer
	plugin.NetRPCUnsupportedPlugin
}

func (malformed) Describe(context.Context, *parserv1.DescribeRequest) (*parserv1.DescribeResponse, error) {
	return &parserv1.DescribeResponse{Format: wire.Format, Name: "malformed", Protocols: []*parserv1.Protocol{{Name: "http", Tcp: true, Number: 1001}}}, nil
}

func (malformed) Identify(g parserv1.Parser_IdentifyServer) error {
	done := uint64(0)
	for {
		q, err := g.Recv()
		if err != nil {
			return err
		}
		done += uint64(len(q.Records))
		if err := g.Send(&parserv1.IdentifyResponse{Records: bytes.Repeat([]byte{7, 0xff, 3}, 100), Done: done}); err != nil {
			return err
		}
	}
}

func (s malformed) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	parserv1.RegisterParserServer(g, s)
	return nil
}

func (malformed) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

func serveGarbage() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: wire.Format, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		Plugins:         plugin.PluginSet{wire.PluginKind: malformed{}}, GRPCServer: plugin.DefaultGRPCServer,
	})
}

// roles are plugins that this program plays.
func roles(names ...string) []host.Plugin {
	var out []host.Plugin
	for _, n := range names {
		out = append(out, host.Plugin{Name: n, Path: "/proc/self/exe", Env: []string{roleKey + "=" + n}})
	}
	return out
}

// start runs plugins for a test.
func start(t testing.TB, cfg host.Config) *host.Host {
	t.Helper()
	if testing.Verbose() && cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	h, err := host.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// count is one of a host's counters.
func count(h *host.Host, name string) uint64 {
	m := map[string]uint64{}
	h.Counters(m)
	return m["plugin."+name]
}

// until waits for a condition, for 10 s at most, or longer under the race detector.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * slack * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %d s: %s", 10*slack, what)
		}
	}
}
