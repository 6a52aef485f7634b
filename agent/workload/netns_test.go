package workload_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

func TestLoadFile(t *testing.T) {
	tests := []struct {
		name, text string
		want       []workload.Description
		err        string // part of the error
	}{
		{"whole", "workloads:\n  - name: web\n    netns: shop-web\n    namespace: shop\n    service: front\n    labels: {tier: a}\n  - netns: 'cni-*'\n    exclude: true\n",
			[]workload.Description{{Name: "web", NetNS: "shop-web", Namespace: "shop", Service: "front", Labels: map[string]string{"tier": "a"}}, {NetNS: "cni-*", Exclude: true}}, ""},
		{"name is the namespace", "workloads: [{name: web}]", []workload.Description{{Name: "web", NetNS: "web"}}, ""},
		{"empty", "", []workload.Description{}, ""},
		{"unknown field", "workloads:\n  - name: web\n    colour: red\n", nil, `line 3: there is no field "colour"`},
		{"wrong type", "workloads:\n  - name: [web]\n", nil, "line 2: a value of type seq does not fit"},
		{"not yaml", "workloads:\n\t- name: web\n", nil, "line 2: "},
		{"nothing named", "workloads:\n  - namespace: a\n", nil, "line 2: this entry names no namespace"},
		{"path", "workloads:\n  - netns: /run/netns/a\n", nil, "is a path"},
		{"glob with name", "workloads:\n  - {name: a, netns: 'a*'}\n", nil, "is a pattern, so name cannot be given"},
		{"bad glob", "workloads:\n  - {netns: 'a['}\n", nil, "a [ needs its ]"},
		{"twice", "workloads:\n  - name: a\n  - netns: a\n", nil, "line 3: namespace \"a\" was described at line 2"},
		{"bad service", "workloads:\n  - {name: a, service: 'x/y'}\n", nil, `service "x/y"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := filepath.Join(t.TempDir(), "w.yaml")
			if err := os.WriteFile(f, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := workload.LoadFile(f)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), f) {
					t.Fatalf("error %v, want the file and %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(got, tt.want); d != "" {
				t.Errorf("descriptions (-got +want):\n%s", d)
			}
		})
	}
}

func FuzzLoadFile(f *testing.F) {
	f.Add("workloads:\n  - name: web\n    labels: {a: b}\n")
	f.Add("workloads: [{netns: 'a*', exclude: true}]")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(dir, "w.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = workload.LoadFile(file)
	})
}

func TestPatternErrors(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"web", "api"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	tests := []struct{ name, pattern, err string }{
		{"there", "web", ""}, {"glob", "we*", ""}, {"glob of nothing", "zz*", ""},
		{"missing", "db", `there is no network namespace "db" in ` + dir + ` (known: api, web)`}, {"not a pattern", "a[", "is not a pattern"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := workload.NewNetNS(workload.NetNSConfig{Dir: dir, Patterns: []string{tt.pattern}, Logger: logger})
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
	if !strings.Contains(log.String(), "no namespace matches yet") || !strings.Contains(log.String(), "zz*") {
		t.Errorf("log %q does not warn about the glob of nothing", log.String())
	}
}

// follow runs a source and keeps what it reported.
type follow struct {
	t    *testing.T
	mu   sync.Mutex
	all  []workload.Event
	at   []time.Time // of all
	last map[string]workload.Workload
	note string
}

func watch(t *testing.T, cfg workload.NetNSConfig) *follow {
	t.Helper()
	s, err := workload.NewNetNS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := &follow{t: t, last: map[string]workload.Workload{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range s.Watch(ctx) {
			if err != nil {
				t.Error(err)
				return
			}
			f.take(e)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	f.until("synced", func() bool { return f.count(workload.Synced) == 1 })
	return f
}

func (f *follow) take(e workload.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all, f.at = append(f.all, e), append(f.at, time.Now())
	switch e.Kind {
	case workload.Added:
		f.last[e.Workload.ID] = e.Workload
	case workload.Removed:
		delete(f.last, e.Workload.ID)
	case workload.Noted:
		f.note = e.Note
	}
}

func (f *follow) count(k workload.EventKind) int {
	n := 0
	for _, e := range f.all {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// until waits for what kernel notifications bring about.
func (f *follow) until(what string, ok func() bool) {
	f.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		f.mu.Lock()
		is := ok()
		f.mu.Unlock()
		if is {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatalf("never: %s; reported %+v", what, f.all)
}

func TestNetNSSource(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	b := n.Bridge("web", "api")
	bare := n.Namespace("bare")
	web, host := b.Workloads[0], b.Host
	file := filepath.Join(t.TempDir(), "w.yaml")
	text := "workloads:\n  - {name: shop, netns: " + web.Name + ", namespace: prod, labels: {a: b}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimSuffix(web.Name, "web")
	// The poll is out of reach, so that notifications alone must do.
	f := watch(t, workload.NetNSConfig{Patterns: []string{prefix + "*"}, File: file, Node: "n1", Poll: time.Hour})
	id := "netns:" + web.Name
	want := workload.Workload{ID: id, Name: "shop", Namespace: "prod", Service: "shop", Labels: map[string]string{"a": "b"}, Node: "n1", NetNS: web.Path, Source: "netns",
		Interfaces: []workload.Interface{{Name: "eth0", Index: web.Index, MAC: net.HardwareAddr(web.MAC[:]).String(), Kind: "veth",
			Addresses: []netip.Prefix{netip.PrefixFrom(web.IPv4, 24), netip.PrefixFrom(web.IPv6, 64)}}}}
	if d := cmp.Diff(f.last[id], want, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmpopts.IgnoreFields(workload.Interface{}, "LinkLocal")); d != "" {
		t.Errorf("workload (-got +want):\n%s", d)
	}
	if _, ok := f.last["netns:"+host.Name]; ok || len(f.last) != 2 {
		t.Errorf("workloads %v, want web and api only", f.last)
	}

	web.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 77, 0, 99), Mask: net.CIDRMask(24, 32)}})
	})
	f.until("a new address reported", func() bool { return len(f.last[id].Interfaces[0].Addresses) == 3 })

	bare.Do(func() error { return addDummy("10.9.9.9") })
	f.until("a namespace that waited reported", func() bool { return f.last["netns:"+bare.Name].NetNS == bare.Path })
}

func TestNetNSRecreated(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	first := n.Namespace("late")
	prefix := strings.TrimSuffix(first.Name, "late")
	f := watch(t, workload.NetNSConfig{Patterns: []string{prefix + "*"}, Poll: time.Hour})
	second := n.Namespace("new")
	second.Do(func() error { return addDummy("10.9.9.1") })
	f.until("a new namespace reported", func() bool { return len(f.last) == 1 })
	if err := recreate(second.Name); err != nil {
		t.Fatal(err)
	}
	second.Do(func() error { return addDummy("10.9.9.2") })
	f.until("the same name reported again", func() bool {
		w := f.last["netns:"+second.Name]
		return f.count(workload.Removed) == 1 && len(w.Interfaces) == 1 && w.Interfaces[0].Addresses[0].Addr() == netip.MustParseAddr("10.9.9.2")
	})
}
