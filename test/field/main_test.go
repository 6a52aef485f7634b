// Package field is the standing search: random walks over namespaces, modes, rules, restarts and
// changes of the network with real traffic, compared with a model of what must pass and what must not.
// What it finds is shrunk to a short script, which can be run again. It needs root.
package field

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The flags of a search; deploy/field.sh sets them.
var (
	searchSeed   = flag.Uint64("field.seed", 1, "seed of the first walk; the next walks have the next numbers")
	searchWalks  = flag.Int("field.walks", 6, "number of walks, if -field.for is 0")
	searchFor    = flag.Duration("field.for", 0, "how long to search")
	searchSteps  = flag.Int("field.steps", 14, "random steps of a walk")
	searchSide   = flag.Int("field.side", 4, "walks at the same time")
	searchScript = flag.String("field.script", "", "file with the steps of one run, instead of a search")
	searchShrink = flag.Duration("field.shrink", 2*time.Minute, "how long to shrink what was found")
)

// binary is the program under test: $SLUICE_BINARY, or what this tree is built to.
var binary string

func TestMain(m *testing.M) {
	verbs = allVerbs()
	flag.Parse()
	os.Exit(m.Run())
}

// build builds the program under test.
func build(t *testing.T) {
	t.Helper()
	if binary = os.Getenv("SLUICE_BINARY"); binary != "" {
		return
	}
	dir, err := os.MkdirTemp("", "sluice-field")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // parser processes have no privileges
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "sluice")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/sluicenet/sluice/cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}
