package test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/internal/consultest"
	"github.com/sluicenet/sluice/internal/testnet"
)

// TestCluster runs the demo of a cluster: the leading controller and Consul's leader are killed under
// traffic, and every connection that clients made is known to the controller that is left.
func TestCluster(t *testing.T) {
	testnet.RequireRoot(t)
	consul, err := consultest.Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "demo-cluster", "--json", "--consul", consul).Output()
	var r struct {
		OK                             bool
		Made, Known, Tried, Violations int
		TakeoverMS                     int `json:"takeover_ms"`
		RecoveryMS                     int `json:"recovery_ms"`
		Problems                       []string
	}
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Fatalf("demo-cluster: %v, %v in %q", err, jerr, out)
	}
	if err != nil || !r.OK {
		t.Fatalf("demo-cluster: %v\n%s", err, strings.Join(r.Problems, "\n"))
	}
	t.Logf("%d connections, %d refused; a controller in place after %d ms, a rule in force after %d ms", r.Made, r.Tried, r.TakeoverMS, r.RecoveryMS)
	if r.Made < 200 || r.Tried < 100 || r.Made != r.Known || r.Tried != r.Violations {
		t.Errorf("got %+v", r)
	}
	if r.TakeoverMS > 15_000 {
		t.Errorf("the other controller led after %d ms, want 15 s at most", r.TakeoverMS)
	}
}
