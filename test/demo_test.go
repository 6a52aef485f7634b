package test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// demoReport is the part of what the demo prints as JSON that is looked at.
type demoReport struct {
	OK      bool
	Seconds float64
	Learned []struct {
		From, To, App, Over, Family string
		Sessions                    int
	}
	Protect struct {
		Denied []struct{ From, To, Family, Outcome, App string }
	}
	Problems []string
}

// TestDemo runs the demo as a stranger does. Its machines with sidecars are part of what must be learned by
// name and refused; nothing is left behind.
func TestDemo(t *testing.T) {
	testnet.RequireRoot(t)
	cmd := exec.Command(demoBinary, "--once", "--json")
	var errs bytes.Buffer
	cmd.Stderr, cmd.Env = &errs, os.Environ()
	out, err := cmd.Output()
	var r demoReport
	if jerr := json.Unmarshal(out, &r); err != nil || jerr != nil || !r.OK {
		t.Fatalf("demo: %v, %v, %q\n%s\n%s", err, jerr, r.Problems, out, &errs)
	}
	t.Logf("%.1f s", r.Seconds)
	for _, family := range []string{"ipv4", "ipv6"} {
		hidden := 0
		for _, e := range r.Learned {
			if e.From == "cart" && e.To == "pay" && e.Family == family {
				hidden++
				if e.App != "http" || e.Over != "tls" || e.Sessions == 0 {
					t.Errorf("between sidecars: %+v, want http in tls", e)
				}
			}
		}
		refused := 0
		for _, d := range r.Protect.Denied {
			if d.From == "cart" && d.Family == family && d.Outcome == "reset" {
				refused++
			}
		}
		if hidden != 1 || refused != 2 {
			t.Errorf("%s: %d kinds of connection between the sidecars and %d refusals at one, want 1 and 2", family, hidden, refused)
		}
	}
	left, err := netns.List()
	if err != nil || slices.ContainsFunc(left, func(n string) bool { return strings.HasPrefix(n, "sldemo") }) {
		t.Errorf("namespaces %v are left, %v", left, err)
	}
}
