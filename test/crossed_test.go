package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// Ports that both ends of a simultaneous open are bound to.
const (
	crossedWeb = 7778
	crossedAPI = 7777
)

// openBoth has two sockets that are bound connect to each other at the same moments until their SYNs
// cross, and returns them as one end and the other.
func openBoth(t *testing.T, network string, a, b *testnet.Workload) [2]net.Conn {
	t.Helper()
	type result struct {
		end int
		c   net.Conn
		err error
	}
	done := make(chan result, 2)
	begin := time.Now().Add(50 * time.Millisecond)
	dial := func(end int, from *testnet.Workload, near, far string) {
		local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(near))
		d := net.Dialer{LocalAddr: local, Timeout: 2 * time.Second, FallbackDelay: -1, Control: func(_, _ string, raw syscall.RawConn) (err error) {
			return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }), err)
		}}
		r := result{end: end}
		from.Do(func() error {
			for try := range 3000 {
				at := begin.Add(time.Duration(try) * 2 * time.Millisecond)
				time.Sleep(time.Until(at) - time.Millisecond)
				for time.Now().Before(at) {
				}
				if r.c, r.err = d.DialContext(context.Background(), network, far); !errors.Is(r.err, syscall.ECONNREFUSED) {
					return nil
				}
			}
			return nil
		})
		done <- r
	}
	web, api := a.Addr(network, crossedWeb), b.Addr(network, crossedAPI)
	go dial(0, a, web, api)
	go dial(1, b, api, web)
	var out [2]net.Conn
	for range out {
		r := <-done
		if r.err != nil {
			t.Errorf("%s: end %d: %v", network, r.end, r.err)
			continue
		}
		t.Cleanup(func() { r.c.Close() })
		out[r.end] = r.c
	}
	if t.Failed() {
		t.FailNow()
	}
	return out
}

// TestSimultaneousOpen has two workloads in protect mode open a connection to each other at once
// (RFC 9293 3.5): it carries data both ways, and is one connection and one event, no violation and no
// threat.
func TestSimultaneousOpen(t *testing.T) {
	l := newLab(t)
	l.start()
	l.run("rules", "add", "--from", "web", "--to", "api", "--ports", fmt.Sprint("tcp/", crossedAPI))
	l.run("rules", "add", "--from", "api", "--to", "web", "--ports", fmt.Sprint("tcp/", crossedWeb))
	l.run("mode", "set", "web", "api", "protect")
	for _, network := range families {
		ends := openBoth(t, network, l.web, l.api)
		for i, c := range ends {
			if _, err := fmt.Fprintf(c, "from %d", i); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 6)
			if err := ends[1-i].SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := ends[1-i].Read(got); err != nil || string(got) != fmt.Sprint("from ", i) {
				t.Fatalf("%s: end %d received %q, %v", network, 1-i, got, err)
			}
		}
		for _, c := range ends {
			c.Close()
		}
		until(t, 8*time.Second, network+": one connection", func() error {
			var open []outcome
			for _, c := range read[[]outcome](l.program, "connections", "--family", familyName(network)) {
				if (c.Port == crossedAPI || c.Port == crossedWeb) && c.Outcomes["refused"] < c.Sessions {
					open = append(open, c)
				}
			}
			if len(open) != 1 || open[0].Sessions-open[0].Outcomes["refused"] != 1 || open[0].Outcomes["closed"]+open[0].Outcomes["reset"] != 1 ||
				open[0].ClientEnd == nil || open[0].ServerEnd == nil || open[0].Verdict != "allow" {
				return fmt.Errorf("rows %+v", open)
			}
			return nil
		})
	}
	if out := l.run("threats"); out != "No threats.\n" {
		t.Errorf("threats:\n%s", out)
	}
	if vs := read[[]refusal](l.program, "violations"); len(vs) > 0 {
		t.Errorf("violations %+v", vs)
	}
}
