// Package testnet builds network topologies out of namespaces for tests that
// need root, and removes them after it, even if it fails. It is not
// for the product: nothing but tests imports it.
package testnet

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// prefix begins the name of every namespace made here; the process number
// follows it, so that leftovers of dead processes are recognised.
const prefix = "sltest-"

// serial distinguishes the topologies of one process.
var serial atomic.Uint32

// RequireRoot skips the test when it does not run as root, with the reason; with
// SLUICE_ROOT_TESTS=1 it fails instead.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	const why = "needs root to make network namespaces"
	if os.Getenv("SLUICE_ROOT_TESTS") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Net is the namespaces of one test.
type Net struct {
	t      testing.TB
	prefix string
	names  []string
}

// New makes an empty Net; it needs root (RequireRoot). When the test ends
// everything made through it is deleted.
func New(t testing.TB) *Net {
	t.Helper()
	RequireRoot(t)
	sweep(t)
	n := &Net{t: t, prefix: fmt.Sprintf("%s%d-%d-", prefix, os.Getpid(), serial.Add(1))}
	t.Cleanup(n.close)
	return n
}

// close deletes every namespace and reports failures.
func (n *Net) close() {
	for _, name := range slices.Backward(n.names) {
		if err := netns.Delete(name); err != nil {
			n.t.Errorf("clean up: %v", err)
		}
	}
	left, err := netns.List()
	if err != nil {
		n.t.Errorf("clean up: %v", err)
	}
	for _, name := range left {
		if strings.HasPrefix(name, n.prefix) {
			n.t.Errorf("namespace %s is left", name)
		}
	}
}

// sweep deletes leftovers of killed processes.
func sweep(t testing.TB) {
	t.Helper()
	names, err := netns.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		field, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(field)
		if err != nil || pid <= 0 || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		// Another process may sweep at the same time.
		if netns.Delete(name) == nil {
			t.Logf("swept namespace %s of a dead process", name)
		}
	}
}

// Namespace makes a namespace with loopback up; name need only be unique in n.
func (n *Net) Namespace(name string) *NS {
	n.t.Helper()
	full := n.prefix + name
	if err := netns.Create(full); err != nil {
		n.t.Fatal(err)
	}
	n.names = append(n.names, full)
	ns := &NS{Name: full, Path: netns.Named(full), t: n.t}
	if err := ns.prepare(); err != nil {
		n.t.Fatal(err)
	}
	return ns
}
