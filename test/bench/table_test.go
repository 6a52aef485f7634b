//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"maps"
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
	tab.finish()
	tab.show(&out, false)
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
		ratio := 0.0
		if r.Ratio != nil {
			ratio = *r.Ratio
		}
		if r.Name != w.name || r.Metric != w.metric || r.Value != w.value || ratio != w.ratio || r.Min != w.min || r.Max != w.max || r.Runs != w.runs {
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
		{"rows", []string{"-rows", "^inline (conn|ping)$"}, true},
		{"no such rows", []string{"-rows", "inline idle-time"}, false},
		{"no expression", []string{"-rows", "("}, false},
		{"test that the contender has not", []string{"-only", "plain", "-tests", "idle"}, false},
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

// TestRows holds that plain is measured beside whatever is asked for.
func TestRows(t *testing.T) {
	o, err := parse([]string{"-rows", "^(inline|tap-50) (idle|conn)$"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, x := range o.tasks {
		got[x.name] = strings.Join(x.tests, " ")
	}
	want := map[string]string{"plain": "conn", "inline": "idle conn", "tap-50": "idle conn"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMarkdown(t *testing.T) {
	tab := &table{}
	for _, v := range []float64{10, 20, 30} {
		tab.add("inline", "tcp1", "Gbit/s", v/2)
		tab.add("plain", "tcp1", "Gbit/s", v)
		tab.add("inline", "tcp1 lost", "frames", 0)
	}
	tab.fault("inline", "tcp1 refused", 3)
	tab.finish()
	var out strings.Builder
	tab.markdown(&out)
	want := `| | plain | inline |
|---|---|---|
| tcp1, Gbit/s | 20.0 [10.0-30.0] | 10.0 [5.000-15.0], **0.50** |
| tcp1 lost, frames |  | 0 |
| tcp1 refused, (fault) |  | 3.000, in 1 of the rounds |
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// TestPolicy holds that what is measured is allowed by the policy, and how.
func TestPolicy(t *testing.T) {
	table, err := makePolicy(2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if table.Workload(workloadID(i)) == nil {
			t.Errorf("the policy does not speak of %s", workloadID(i))
		}
	}
	for _, ipv6 := range []bool{false, true} {
		for i := range sources {
			if got := table.Identity(packet.AddrFrom(sourceAddr(ipv6, i)), ipv6); got != 2 {
				t.Errorf("%s: got identity %d, want 2", sourceAddr(ipv6, i), got)
			}
		}
	}
}
