package translate

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/conntrack"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// table is a tracker with some entries.
type table struct {
	entries []conntrack.Entry
	asked   int
	closed  bool
	fails   error // of List
}

func (t *table) Get(e *conntrack.Entry, of *conntrack.Tuple) error {
	t.asked++
	for _, x := range t.entries {
		if x.Tuples[0] == *of || x.Tuples[1] == *of {
			*e = x
			return nil
		}
	}
	return unix.ENOENT
}

func (t *table) List(fn func(*conntrack.Entry)) error {
	for i := range t.entries {
		fn(&t.entries[i])
	}
	return t.fails
}

func (t *table) Close() { t.closed = true }

func tupleOf(from, to string, proto uint8) conntrack.Tuple {
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return conntrack.Tuple{Src: packet.AddrFrom(a.Addr()), Dst: packet.AddrFrom(b.Addr()), SrcPort: a.Port(), DstPort: b.Port(), Proto: proto, IPv6: a.Addr().Is6()}
}

// entry is a connection from a client to a service and, beyond the translation, a server.
func entry(client, service, server string, proto uint8) conntrack.Entry {
	return conntrack.Entry{Tuples: [2]conntrack.Tuple{tupleOf(client, service, proto), tupleOf(server, client, proto)}}
}

var sessions uint64

// record is of a new session.
func record(client, service string, proto uint8) *flow.Record {
	t := tupleOf(client, service, proto)
	sessions++
	return &flow.Record{Key: flow.Key{Client: t.Src, Server: t.Dst, ClientPort: t.SrcPort, ServerPort: t.DstPort, Proto: proto, IPv6: t.IPv6}, Session: sessions, Dir: packet.Egress}
}

func resolver(t *testing.T, file string, tables map[string]*table) (*Resolver, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	r := New(Config{File: file, Logger: slog.New(slog.NewTextHandler(&log, nil)), Open: func(path string) (Tracker, error) {
		if k := tables[path]; k != nil {
			return k, nil
		}
		return nil, unix.EPERM
	}})
	var paths []string
	for p := range tables {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	r.Watch(paths)
	t.Cleanup(r.Close)
	return r, &log
}

func where(r *Resolver, f *flow.Record) string {
	addr, port, ok := r.Server(f)
	if !ok {
		return ""
	}
	return netipOf(addr, port).String()
}

func TestServer(t *testing.T) {
	host, other := &table{}, &table{}
	r, log := resolver(t, "", map[string]*table{"": host, "other": other, "unreadable": nil})
	host.entries = []conntrack.Entry{
		entry("10.0.0.1:40000", "10.96.0.10:80", "10.0.0.2:8080", 6),
		entry("[fd00::1]:40000", "[fd96::10]:80", "[fd00::2]:8080", 6),
		entry("10.0.0.1:40001", "10.96.0.10:53", "10.0.0.2:5353", 17),
		entry("10.0.0.1:40002", "10.0.0.2:8080", "10.0.0.2:8080", 6),
		entry("10.0.0.9:40004", "10.96.0.10:80", "10.0.0.1:40005", 6), // its answers have the tuple of a client's request
	}
	other.entries = []conntrack.Entry{entry("10.0.0.1:40003", "10.96.0.11:80", "10.0.0.3:8080", 6)}
	tests := []struct {
		name, client, service string
		proto                 uint8
		want                  string
	}{
		{"TCP", "10.0.0.1:40000", "10.96.0.10:80", 6, "10.0.0.2:8080"},
		{"IPv6", "[fd00::1]:40000", "[fd96::10]:80", 6, "[fd00::2]:8080"},
		{"UDP", "10.0.0.1:40001", "10.96.0.10:53", 17, "10.0.0.2:5353"},
		{"in another namespace", "10.0.0.1:40003", "10.96.0.11:80", 6, "10.0.0.3:8080"},
		{"not translated", "10.0.0.1:40002", "10.0.0.2:8080", 6, ""},
		{"not tracked", "10.0.0.1:40100", "10.0.0.77:80", 6, ""},
		{"another direction", "10.0.0.1:40005", "10.0.0.9:40004", 6, ""},
		{"ICMP", "10.0.0.1:0", "10.96.0.10:0", 1, ""},
	}
	for _, tt := range tests {
		f := record(tt.client, tt.service, tt.proto)
		if got := where(r, f); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		f.Dir = packet.Ingress
		if got := where(r, f); got != "" {
			t.Errorf("%s, into the workload: %q", tt.name, got)
		}
	}
	if got := fmt.Sprint(r.Services()); !strings.Contains(got, "10.96.0.10:80") || !strings.Contains(got, "fd96::10") || len(r.Services()) != 4 {
		t.Errorf("services are %v", got)
	}
	if !strings.Contains(log.String(), "namespace=unreadable") {
		t.Errorf("a tracker that cannot be asked is not reported: %s", log)
	}
	r.Watch([]string{""})
	r.Server(record("10.0.0.1:40000", "10.0.0.80:80", 6))
	if !other.closed || host.closed {
		t.Error("the tracker of a namespace that is not watched is open, or that of one that is closed")
	}
}

// TestListFails: a tracker whose entries cannot be read is closed, and not asked.
func TestListFails(t *testing.T) {
	host := &table{fails: unix.EIO}
	r, log := resolver(t, "", map[string]*table{"": host})
	for range 2 {
		where(r, record("10.0.0.1:40000", "10.96.0.10:80", 6))
	}
	if !host.closed || host.asked != 0 || strings.Count(log.String(), "input/output error") != 1 {
		t.Errorf("closed %v, asked %d times, log: %s", host.closed, host.asked, log)
	}
}

// TestOneAnswer: all records of a session have the answer of the first one, also when its entry is gone or
// the session has been refused since.
func TestOneAnswer(t *testing.T) {
	host := &table{}
	r, _ := resolver(t, "", map[string]*table{"": host})
	plain := record("10.0.0.1:40000", "10.96.0.10:80", 6)
	if got := where(r, plain); got != "" {
		t.Fatalf("%q before there is an entry", got)
	}
	host.entries = []conntrack.Entry{entry("10.0.0.1:40001", "10.96.0.12:80", "10.0.0.2:8080", 6)}
	f := record("10.0.0.1:40001", "10.96.0.12:80", 6)
	if got := where(r, f); got != "10.0.0.2:8080" {
		t.Fatalf("%q", got)
	}
	host.entries = nil
	f.Outcome = flow.OutcomeDenied
	if got := where(r, f); got != "10.0.0.2:8080" {
		t.Errorf("%q without its entry", got)
	}
	for range recentSessions + 10 {
		r.remember(record("10.0.0.1:1", "10.0.0.2:1", 6).Session, answer{})
	}
	if got := where(r, f); got != "10.0.0.2:8080" {
		t.Errorf("%q after as many sessions as are remembered", got)
	}
	denied := record("10.0.0.1:40009", "10.96.0.12:80", 6)
	denied.Outcome = flow.OutcomeDenied
	if got := where(r, denied); got != "10.0.0.2:8080" {
		t.Errorf("a refused connection would have gone to %q", got)
	}
	host.entries = []conntrack.Entry{entry("10.0.0.1:40000", "10.96.0.10:80", "10.0.0.2:8080", 6)}
	if got := where(r, plain); got != "" {
		t.Errorf("a session's answer has changed to %q", got)
	}
}

// TestPlainDestinations: many connections to a destination that is not translated ask once.
func TestPlainDestinations(t *testing.T) {
	host := &table{}
	r, _ := resolver(t, "", map[string]*table{"": host})
	for i := range 2 * maxPlain {
		r.Server(record(fmt.Sprintf("10.0.0.1:%d", 1024+i), "10.0.0.2:8080", 6))
	}
	if host.asked != 1 {
		t.Errorf("asked %d times", host.asked)
	}
	for i := range 2*maxPlain + 10 {
		r.Server(record("10.0.0.1:1024", fmt.Sprintf("10.0.0.2:%d", 1+i), 6))
	}
	if len(r.plain) > maxPlain {
		t.Errorf("%d destinations are remembered", len(r.plain))
	}
}

func TestBook(t *testing.T) {
	b, now := book{}, time.Now()
	at := func(s string) destination { return destinationOf(netip.MustParseAddrPort(s), 6) }
	of := at("10.96.0.10:80")
	for i, step := range []struct {
		to   string
		in   time.Duration
		news bool
		want int
	}{
		{"10.0.0.2:8080", 0, true, 1},
		{"10.0.0.2:8080", time.Second, false, 1},
		{"10.0.0.3:8080", time.Second, true, 2},
		{"10.0.0.2:8080", freshFor, false, 2},
		{"10.0.0.2:8080", 2 * time.Second, true, 1},
		{"10.0.0.2:8080", 10 * freshFor, false, 1},
	} {
		now = now.Add(step.in)
		if news := b.add(of, at(step.to), now); news != step.news || len(b[of]) != step.want {
			t.Errorf("step %d: news %v, %d targets, want %v and %d", i, news, len(b[of]), step.news, step.want)
		}
	}
	for i := range maxServices + 10 {
		b.add(destinationOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 97, byte(i >> 8), byte(i)}), 80), 6), at("10.0.0.2:8080"), now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(b) != maxServices || b[of] != nil {
		t.Errorf("%d services, the oldest one: %v", len(b), b[of])
	}
}

// TestStored: the next run knows the services of this one.
func TestStored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "services")
	host := &table{entries: []conntrack.Entry{entry("10.0.0.1:1", "10.96.0.10:80", "10.0.0.2:8080", 6), entry("10.0.0.1:2", "10.96.0.10:80", "10.0.0.3:8080", 6),
		entry("[fd00::1]:1", "[fd96::10]:53", "[fd00::2]:5353", 17)}}
	r, _ := resolver(t, file, map[string]*table{"": host})
	r.Server(record("10.0.0.1:3", "10.0.0.4:80", 6))
	select {
	case <-r.Changed():
	default:
		t.Error("no change is reported")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Run(ctx)
	next, log := resolver(t, file, nil)
	if got, want := fmt.Sprint(next.Services()), fmt.Sprint(r.Services()); got != want || log.Len() > 0 {
		t.Errorf("%v, want %v; %s", got, want, log)
	}
	for _, text := range []string{"", "[", `[{"proto":6}]`, `[{"proto":6,"at":"10.0.0.1:80","targets":[""]}]`, "null"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if next, _ := resolver(t, file, nil); len(next.Services()) != 0 {
			t.Errorf("%q: %v", text, next.Services())
		}
	}
	if next, log := resolver(t, filepath.Join(t.TempDir(), "none"), nil); len(next.Services()) != 0 || log.Len() > 0 {
		t.Errorf("without a file: %v, %s", next.Services(), log)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`[{"proto":6,"at":"10.96.0.10:80","targets":["10.0.0.2:8080"]}]`))
	file := filepath.Join(f.TempDir(), "services")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, s := range New(Config{File: file}).Services() {
			if !s.At.IsValid() || len(s.Targets) == 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
