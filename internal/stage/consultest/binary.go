package consultest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Binary is the path of the Consul server, built now where this machine has none yet: that takes some
// minutes, once. It needs the project's source.
func Binary(ctx context.Context) (string, error) {
	if b := os.Getenv("SLUICE_CONSUL"); b != "" {
		return b, nil
	}
	_, file, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(file), "..", "..", "..", "deploy", "consul.sh")
	if _, err := os.Stat(script); err != nil {
		return "", fmt.Errorf("find the consul server: name it with SLUICE_CONSUL: %w", err)
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, script)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the consul server: %w: %s", err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// TB is what New needs of a test; testing.TB is one. The package is part of the program too, which is to
// do without testing.
type TB interface {
	Helper()
	Context() context.Context
	TempDir() string
	Cleanup(func())
	Failed() bool
	Fatal(...any)
	Errorf(string, ...any)
	Logf(string, ...any)
}

// New starts n servers on loopback addresses for a test, which they end with.
func New(t TB, n int) *Cluster {
	t.Helper()
	ips, err := Loopback(n)
	if err != nil {
		t.Fatal(err)
	}
	return NewAt(t, Place{IPs: ips})
}

// NewAt is New for servers of one's own making: Place needs addresses alone.
func NewAt(t TB, p Place) *Cluster {
	t.Helper()
	binary, err := Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.Binary, p.Dir = binary, t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c, err := Start(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("end consul: %v", err)
		}
		if t.Failed() {
			for i := range c.servers {
				t.Logf("consul server %d:\n%s", i, c.log(i))
			}
		}
	})
	return c
}
