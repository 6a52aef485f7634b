//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

func TestTable(t *testing.T) {
	tab := &table{}
	for _, v := range []float64{10, 30, 20} {
		tab.add("plain", "ping p50", "us", v)
		tab.add("inline", "ping p50", "us", 2*v)
		tab.add("inline", "tcp1 cpu", "s/GB", v/10)
	}
	tab.fault("inline", "tcp1 ring full", 7)
	var out bytes.Buffer
	tab.print(&out)
	want := []struct {
		name, metric           string
		value, ratio, min, max float64
		runs                   int
	}{
		{"inline", "tcp1 cpu", 2, 0, 1, 3, 3},
		{"inline", "tcp1 ring full", 7, 0, 7, 7, 1},
		{"plain", "ping p50", 20, 1, 10, 30, 3},
		{"inline", "ping p50", 40, 2, 20, 60, 3},
	}
	if len(tab.rows) != len(want) {
		t.Fatalf("got %d rows, want %d", len(tab.rows), len(want))
	}
	for i, w := range want {
		r := tab.rows[i]
		if r.Name != w.name || r.Metric != w.metric || r.Value != w.value || r.Ratio != w.ratio || r.Min != w.min || r.Max != w.max || r.Runs != w.runs {
			t.Errorf("row %d: got %+v, want %+v", i, *r, w)
		}
		if !strings.Contains(out.String(), w.metric) {
			t.Errorf("%s is not in the table", w.metric)
		}
	}
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := tab.write(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Rows []map[string]any `json:"rows"`
	}
	if err := json.Unmarshal(data, &back); err != nil || len(back.Rows) != len(want) || back.Rows[3]["ratio"] != 2.0 {
		t.Errorf("read back %v, %v", back.Rows, err)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		ok   bool
	}{
		{"nothing", nil, true},
		{"some", []string{"-only", "plain,reflect", "-tests", "udp", "-6", "-rounds", "1"}, true},
		{"no contender", []string{"-only", "plain,other"}, false},
		{"no test", []string{"-tests", ""}, false},
		{"no round", []string{"-rounds", "0"}, false},
		{"too short", []string{"-seconds", "0"}, false},
		{"argument", []string{"plain"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parse(c.args); (err == nil) != c.ok {
				t.Errorf("got %v, want ok %v", err, c.ok)
			}
		})
	}
}

// TestPolicy holds that what is measured is allowed by the policy, and how.
func TestPolicy(t *testing.T) {
	table, err := makePolicy()
	if err != nil {
		t.Fatal(err)
	}
	if table.Workload(workloadID) == nil {
		t.Fatal("the policy does not speak of the server")
	}
	for _, ipv6 := range []bool{false, true} {
		for i := range sources {
			if got := table.Identity(packet.AddrFrom(sourceAddr(ipv6, i)), ipv6); got != 2 {
				t.Errorf("%s: got identity %d, want 2", sourceAddr(ipv6, i), got)
			}
		}
	}
}
