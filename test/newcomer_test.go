package test

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestDockerNewcomers: the first thing that a fresh container of a protected group does is judged as its group
// may, though the container is unknown: what is denied does not reach the server, and
// what is allowed is not refused for the newcomer's unknown address.
func TestDockerNewcomers(t *testing.T) {
	y := newYard(t)
	y.start()
	open, closed := y.accepts(y.api, 8081), y.accepts(y.web, 8082)
	labels := map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "client"}
	fresh := func(name string, to *gate) string {
		t.Helper()
		return y.docker.Run(testnet.Container{Name: name, Labels: labels, Command: []string{"/bin/sh", "-c", fmt.Sprintf("echo hello | nc -w 5 %s %d", to.host, to.port)}})
	}
	y.docker.Remove(y.ended(fresh("first", open)))
	if open.n.Load() != 1 {
		t.Fatalf("%d connections came in, want that of the first client", open.n.Load())
	}
	until(t, 20*time.Second, "the rule learned", func() error {
		rs := read[[]rule](y.program, "rules")
		if slices.ContainsFunc(rs, func(r rule) bool { return r.From == "svc:shop/client" && r.To == "svc:shop/api" }) {
			return nil
		}
		return fmt.Errorf("rules %+v", rs)
	})
	y.run("mode", "set", "client", "api", "protect")

	const n = 4
	for i := range n {
		y.docker.Remove(y.ended(fresh(fmt.Sprintf("denied%d", i), closed)))
		y.docker.Remove(y.ended(fresh(fmt.Sprintf("allowed%d", i), open)))
	}
	if got := closed.n.Load(); got != 0 {
		t.Errorf("%d of %d denied connections reached the server", got, n)
	}
	if got := open.n.Load(); got != 1+n {
		t.Errorf("%d allowed connections came in, want %d", got, 1+n)
	}
	until(t, 20*time.Second, "each refusal reported", func() error {
		vs := read[[]violation](y.program, "violations")
		for i := range n {
			if !slices.ContainsFunc(vs, func(v violation) bool {
				return v.From == fmt.Sprintf("denied%d", i) && v.To == "web" && v.Port == 8082 && v.Verdict == "deny"
			}) {
				return fmt.Errorf("none of denied%d in %+v", i, vs)
			}
		}
		return nil
	})
	for _, v := range read[[]violation](y.program, "violations") {
		if v.Port != 8082 {
			t.Errorf("a violation that was none: %+v", v)
		}
	}
}

// gate counts the connections that come in at a port of a container.
type gate struct {
	host string
	port int
	n    atomic.Int64
}

// accepts listens in a container.
func (y *yard) accepts(id string, port int) *gate {
	y.t.Helper()
	g := &gate{port: port}
	g.host = y.address(id)
	l := y.docker.NS(id).Listen("tcp4", net.JoinHostPort(g.host, fmt.Sprint(port)))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.n.Add(1)
			go func() { _, _ = c.Read(make([]byte, 64)); c.Close() }() // the client ends with it
		}
	}()
	return g
}

// ended waits until a container has ended, and gives its id.
func (y *yard) ended(id string) string {
	y.t.Helper()
	y.docker.Do("POST", "/containers/"+id+"/wait", nil)
	return id
}
