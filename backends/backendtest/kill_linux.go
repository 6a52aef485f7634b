package backendtest

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// childEnv passes the endpoint to the process that is going to be killed.
const childEnv = "SLUICE_BACKENDTEST_ENDPOINT"

// Serve attaches the endpoint in the environment and passes every frame until the process
// dies. Without the environment it returns: the calling test does its work only in a process
// started by the suite.
func Serve(t *testing.T, h Harness) {
	text, ok := os.LookupEnv(childEnv)
	if !ok {
		t.Log("nothing to do: this serves in a process that the suite starts")
		return
	}
	var ep backend.Endpoint
	if err := json.Unmarshal([]byte(text), &ep); err != nil {
		t.Fatal(err)
	}
	_, w := start(t, h.New(t), ep, pass)
	_, _ = os.Stdout.WriteString("\nserving\n")
	t.Fatal(<-w.done)
}

// child is a process that serves an endpoint.
func (h Harness) child(t *testing.T, ep backend.Endpoint) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(ep)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0], "-test.run=^"+h.Child+"$", "-test.v")
	c.Env = append(os.Environ(), childEnv+"="+string(text))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "serving" {
			return c
		}
	}
	t.Fatal("child did not get to serve")
	return nil
}

// kill kills a serving process under load: with fail-open the connection continues, and a new
// backend takes the endpoint over and cleans up.
func kill(t *testing.T, h Harness) {
	if h.Child == "" {
		t.Log("nothing to kill: another harness of the package has the child")
		return
	}
	a, b := h.topology(t)
	before := snapshot(t, a, b)
	for _, family := range families {
		s := startStream(a, b, "tcp"+family)
		c := h.child(t, h.Endpoint(1, a, backend.FailOpen))
		time.Sleep(100 * time.Millisecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		time.Sleep(100 * time.Millisecond)
		r := h.attach(t, h.Endpoint(2, a, backend.FailOpen), pass)
		eventually(t, "a frame of the stream", func() bool { return r.w.frames.Load() > 0 })
		s.finish(t, 2*time.Second)
		if err := r.b.Close(); err != nil {
			t.Error(err)
		}
		r.w.end(t)
	}
	compare(t, before, snapshot(t, a, b))
}

// HostHook is the hook on the host's end of a workload's veth.
func HostHook(w *testnet.Workload) backend.Hook {
	return backend.Hook{NetNS: w.Host.Path, Interface: w.HostInterface, Index: w.HostIndex}
}

// OwnHook is the hook on the workload's own interface.
func OwnHook(w *testnet.Workload) backend.Hook {
	return backend.Hook{NetNS: w.Path, Interface: w.Interface, Index: w.Index, Side: backend.OwnSide}
}
