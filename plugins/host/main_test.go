package host_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
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
	switch os.Getenv(roleKey) {
	case "":
		os.Exit(m.Run())
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
	case "parent":
		h, err := host.Start(context.Background(), host.Config{Plugins: roles("standard")})
		if err != nil {
			panic(err)
		}
		fmt.Println(h.Status()[0].PID)
		select {}
	case "garbage":
		serveGarbage()
	}
	os.Exit(1)
}

// line is a protocol of somebody else: its client begins with LINE, and its parser claims GET too, but less surely.
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

// leak never gives memory back.
type leak struct{ kept [][]byte }

func (*leak) Name() string { return "test-leak" }

func (l *leak) Probe(*parsers.Meta, parsers.Dir, []byte) parsers.Match {
	l.kept = append(l.kept, bytes.Repeat([]byte{1}, 16<<20))
	return parsers.No
}

func (*leak) Open(*parsers.Meta, parsers.Sink) parsers.Stream { return nil }

// garbage describes itself well and then answers nonsense.
type garbage struct {
	parserv1.UnimplementedParserServer
	plugin.NetRPCUnsupportedPlugin
}

func (garbage) Describe(context.Context, *parserv1.DescribeRequest) (*parserv1.DescribeResponse, error) {
	return &parserv1.DescribeResponse{Format: wire.Format, Name: "garbage", Protocols: []*parserv1.Protocol{{Name: "http", Tcp: true, Number: 1001}}}, nil
}

func (garbage) Identify(g parserv1.Parser_IdentifyServer) error {
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

func (s garbage) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	parserv1.RegisterParserServer(g, s)
	return nil
}

func (garbage) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

func serveGarbage() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: wire.Format, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		Plugins:         plugin.PluginSet{wire.PluginKind: garbage{}}, GRPCServer: plugin.DefaultGRPCServer,
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
	if testing.Verbose() {
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

// until waits for a condition, for 10 s at most.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for 10 s: %s", what)
		}
	}
}
