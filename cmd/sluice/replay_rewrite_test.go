package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/backends/pcapfile"
	"github.com/sluicenet/sluice/core/packet"
)

var rewriteTalk = []message{
	{0, "GET /hello HTTP/1.1\r\nHost: api.test\r\n\r\n"}, {1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{0, "GET /again HTTP/1.1\r\nHost: api.test\r\n\r\n"}, {1, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
}

// rewritten returns what a rewriting makes of a capture.
func rewritten(t *testing.T, path string, r rewriting) (out []packet.Frame) {
	t.Helper()
	in, err := pcapfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	w := newRewriter(r, func(f *packet.Frame) {
		g := *f
		g.Data = bytes.Clone(f.Data)
		out = append(out, g)
	})
	var f packet.Frame
	for in.Next(&f) == nil {
		w.frame(&f)
		f = packet.Frame{}
	}
	w.finish()
	return out
}

// TestRewriteSegments checks each segment's header, and that the payload arrives whole and in order.
func TestRewriteSegments(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		path := capture(t, v6, 40000, 60000, rewriteTalk...)
		got, next := [2]string{}, [2]uint32{1000, 5000}
		for _, f := range rewritten(t, path, rewriting{cut: 7}) {
			var p packet.Packet
			p.Decode(&f)
			end := 0
			if p.SrcPort == 60000 {
				end = 1
			}
			if p.Status != packet.OK || len(p.Payload) > 7 || p.Seq != next[end] || !packet.VerifyTransport(&p) || !packet.VerifyIPv4(&p) {
				t.Fatalf("ipv6 %v: got %v, %d bytes at %d, checksums %v %v; want at most 7 bytes at %d", v6, p.Status, len(p.Payload), p.Seq,
					packet.VerifyTransport(&p), packet.VerifyIPv4(&p), next[end])
			}
			next[end] += uint32(len(p.Payload))
			got[end] += string(p.Payload)
		}
		if want := [2]string{rewriteTalk[0].text + rewriteTalk[2].text, rewriteTalk[1].text + rewriteTalk[3].text}; got != want {
			t.Errorf("ipv6 %v: got %q want %q", v6, got, want)
		}
	}
}

// TestRewriteOrder checks that a seed gives one order, another seed another, and that times stay in order.
func TestRewriteOrder(t *testing.T) {
	path := capture(t, false, 40000, 60000, rewriteTalk...)
	order := func(seed uint64) (out string) {
		var last int64
		for _, f := range rewritten(t, path, rewriting{cut: 5, seed: seed}) {
			if f.Stamp < last {
				t.Fatalf("time goes back from %d to %d", last, f.Stamp)
			}
			last = f.Stamp
			out += string(f.Data)
		}
		return out
	}
	if first, again := order(3), order(3); first != again || order(3) == order(4) || order(3) == order(0) {
		t.Error("want the same order for one seed, and others for other seeds")
	}
	if a, b := len(order(3)), len(order(0)); a != b {
		t.Errorf("got %d bytes reordered, %d in order", a, b)
	}
}

// TestReplayRewritten runs the command: one session of the same application and attributes, however it is delivered.
func TestReplayRewritten(t *testing.T) {
	tests := []struct{ args, path string }{
		{"", "/hello"}, {"--cut 1", "/hello"}, {"--cut 3", "/hello"}, {"--fragment 32", "/hello"}, {"--cut 9 --fragment 24", "/hello"},
		{"--skip 2", "/again"}, {"--skip 2 --cut 17", "/again"},
	}
	for _, v6 := range []bool{false, true} {
		path := capture(t, v6, 40000, 60000, rewriteTalk...)
		for _, tt := range tests {
			var out, errs bytes.Buffer
			args := append(append([]string{"replay", "--json"}, strings.Fields(tt.args)...), path)
			if code := run(t.Context(), args, &screen{Writer: &out}, &screen{Writer: &errs}); code != 0 {
				t.Fatalf("%s: exit %d: %s", tt.args, code, errs.String())
			}
			line, _, _ := strings.Cut(out.String(), "\n")
			var s replaySession
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				t.Fatal(err)
			}
			if s.App != "http" || !strings.Contains(line, `"`+tt.path+`"`) {
				t.Errorf("ipv6 %v, %q: got %s want http with path %s", v6, tt.args, line, tt.path)
			}
		}
	}
}

func TestReplayRefusesRewriting(t *testing.T) {
	for _, args := range []string{"--cut -1", "--skip -1", "--fragment 7", "--fragment -8"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append(append([]string{"replay"}, strings.Fields(args)...), "x.pcap"), &screen{Writer: &out}, &screen{Writer: &errs}); code == 0 || !strings.Contains(errs.String(), "give a") && !strings.Contains(errs.String(), "give the") {
			t.Errorf("%s: exit %d, %s", args, code, errs.String())
		}
	}
}
