package flow_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/flow"
)

// TestKindNames: each kind has its name, and no number of another version panics.
func TestKindNames(t *testing.T) {
	for kind, want := range map[flow.Kind]string{0: "", flow.Start: "start", flow.Update: "update", flow.End: "end"} {
		if got := kind.String(); got != want {
			t.Errorf("kind %d is %q, want %q", kind, got, want)
		}
	}
	for i := range 256 {
		_ = flow.Kind(i).String()
	}
}

// TestPasses: what may be offloaded, because only another policy changes it.
func TestPasses(t *testing.T) {
	passes := map[flow.Verdict]bool{flow.Open: true, flow.Learn: true, flow.Allow: true, flow.Violate: true}
	for i := range 256 {
		if v := flow.Verdict(i); v.Passes() != passes[v] {
			t.Errorf("%v (%d) passes: %t", v, i, v.Passes())
		}
	}
}

// TestKeyIsComparable: records of one flow are found by their key.
func TestKeyIsComparable(t *testing.T) {
	k := flow.Key{ClientPort: 40000, ServerPort: 80, Proto: 6}
	r := flow.Record{Key: k, Session: 3}
	m := map[flow.Key]uint64{k: 1}
	if m[r.Key] != 1 {
		t.Error("the key of a record is not its flow's")
	}
	r.IPv6 = true
	if m[r.Key] != 0 {
		t.Error("a flow of IPv6 has the key of one of IPv4")
	}
}
