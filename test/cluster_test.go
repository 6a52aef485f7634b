package test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/consultest"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// clusterReport is what the cluster's demo and its trial by chance print as JSON.
type clusterReport struct {
	OK                                        bool
	Made, Unwatched, Known, Tried, Violations int
	TakeoverMS                                int `json:"takeover_ms"`
	RecoveryMS                                int `json:"recovery_ms"`
	AgentMS                                   int `json:"agent_back_ms"`
	Problems                                  []string
}

// demoCluster runs the cluster's demo, which must go well.
func demoCluster(t *testing.T, args ...string) clusterReport {
	t.Helper()
	testnet.RequireRoot(t)
	consul, err := consultest.Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd := exec.Command(demoBinary, append([]string{"cluster", "--json", "--consul", consul}, args...)...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var r clusterReport
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Fatalf("sluice-demo cluster: %v, %v in %q\n%s", err, jerr, out, &errs)
	}
	if err != nil || !r.OK {
		t.Fatalf("sluice-demo cluster %v: %v\n%s\n%s", args, err, strings.Join(r.Problems, "\n"), &errs)
	}
	return r
}

// TestCluster runs the demo of a cluster: the leading controller, Consul's leader and an agent are killed
// under traffic, and every connection that clients made is known to the controller that is left, once.
func TestCluster(t *testing.T) {
	r := demoCluster(t)
	t.Logf("%d connections, %d refused; a controller in place after %d ms, a rule in force after %d ms, an agent after %d ms", r.Made, r.Tried, r.TakeoverMS, r.RecoveryMS, r.AgentMS)
	if r.Made < 200 || r.Tried < 100 || r.Known < r.Made-r.Unwatched || r.Known > r.Made {
		t.Errorf("got %+v", r)
	}
}

// TestClusterChance lets chance kill and stop Consul servers, controllers and agents for a while;
// SLUICE_CHAOS=10m makes it longer, SLUICE_SEED=7 chooses what happens.
func TestClusterChance(t *testing.T) {
	seed := cmp.Or(os.Getenv("SLUICE_SEED"), fmt.Sprint(time.Now().Unix()))
	r := demoCluster(t, "--chaos", cmp.Or(os.Getenv("SLUICE_CHAOS"), "30s"), "--seed", seed)
	t.Logf("seed %s: %d connections, %d of them while their node had no agent, %d known; %d refused; without a controller for %d ms at most", seed, r.Made, r.Unwatched, r.Known, r.Tried, r.TakeoverMS)
	if r.Made < 1000 || r.Tried < 100 || r.Known < r.Made-r.Unwatched || r.Known > r.Made {
		t.Errorf("seed %s: got %+v", seed, r)
	}
}
