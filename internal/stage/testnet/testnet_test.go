//go:build linux

package testnet_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// echo sends a line from one workload to the other and back.
func echo(t *testing.T, from, to *testnet.Workload, network string) {
	t.Helper()
	l := to.Listen(network, to.Addr(network, 0))
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	c := from.Dial(network, l.Addr().String())
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestTopologies(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run("bridge/"+network, func(t *testing.T) {
			b := testnet.New(t).Bridge("a", "b", "c")
			echo(t, b.Workloads[0], b.Workloads[1], network)
			echo(t, b.Workloads[2], b.Workloads[0], network)
		})
		t.Run("pair/"+network, func(t *testing.T) {
			p := testnet.New(t).Pair()
			echo(t, p.Client, p.Server, network)
			echo(t, p.Server, p.Client, network)
		})
	}
}

func TestWorkload(t *testing.T) {
	w := testnet.New(t).Bridge("a").Workloads[0]
	w.Do(func() error {
		i, err := net.InterfaceByName(w.Interface)
		if err != nil {
			return err
		}
		if i.Index != w.Index || !bytes.Equal(i.HardwareAddr, w.MAC[:]) {
			t.Errorf("interface is %v, workload says %v", i, w)
		}
		return nil
	})
	out, err := w.Command("readlink", "/proc/self/ns/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	id, err := netns.Identity(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "net:[" + strconv.FormatUint(id.Ino, 10) + "]"; strings.TrimSpace(string(out)) != want {
		t.Errorf("command ran in %s, want %s", out, want)
	}
}

func TestCleanUp(t *testing.T) {
	testnet.RequireRoot(t)
	var path string
	t.Run("inner", func(t *testing.T) { path = testnet.New(t).Bridge("a").Host.Path })
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", path, err)
	}
	// The namespace of a process that is no more.
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	name := "sltest-" + strconv.Itoa(dead.Process.Pid) + "-1-x"
	if err := netns.Create(name); err != nil {
		t.Fatal(err)
	}
	testnet.New(t)
	if _, err := os.Stat(netns.Named(name)); !os.IsNotExist(err) {
		t.Errorf("leftover was not swept: %v", err)
		_ = netns.Delete(name)
	}
}
