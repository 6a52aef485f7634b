package testnet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/internal/netns"
)

// NS is a network namespace of a test.
type NS struct {
	// Name is the full name in /run/netns, Path the file.
	Name, Path string
	t          testing.TB
}

// Do runs fn inside and fails the test when it returns an error. fn itself must not
// call t.Fatal.
func (s *NS) Do(fn func() error) {
	s.t.Helper()
	if err := netns.Do(s.Path, fn); err != nil {
		s.t.Fatalf("in %s: %v", s.Name, err)
	}
}

// prepare brings loopback up and makes addresses usable at once.
func (s *NS) prepare() error {
	return netns.Do(s.Path, func() error {
		for _, conf := range []string{"all", "default"} {
			if err := s.sysctl("net/ipv6/conf/"+conf+"/accept_dad", "0"); err != nil {
				return err
			}
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find loopback: %w", err)
		}
		return netlink.LinkSetUp(lo)
	})
}

// Sysctl writes a setting of the namespace; key is a path below /proc/sys.
func (s *NS) Sysctl(key, value string) {
	s.t.Helper()
	s.Do(func() error { return s.sysctl(key, value) })
}

// sysctl must run inside: /proc/sys/net shows the calling thread's namespace.
func (s *NS) sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/"+key, []byte(value), 0)
}

// Listen opens a listener inside; it is closed when the test ends.
func (s *NS) Listen(network, address string) net.Listener {
	s.t.Helper()
	var l net.Listener
	s.Do(func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	s.t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket opens a datagram socket inside; it is closed when the test ends.
func (s *NS) ListenPacket(network, address string) net.PacketConn {
	s.t.Helper()
	var c net.PacketConn
	s.Do(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	s.t.Cleanup(func() { c.Close() })
	return c
}

// Dial connects from inside within ten seconds; address is numeric. The connection
// is closed when the test ends.
func (s *NS) Dial(network, address string) net.Conn {
	s.t.Helper()
	c, err := s.TryDial(network, address, 10*time.Second)
	if err != nil {
		s.t.Fatalf("in %s: %v", s.Name, err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// TryDial connects from inside and leaves errors and closing to the caller. It may
// be called from any goroutine.
func (s *NS) TryDial(network, address string, timeout time.Duration) (net.Conn, error) {
	var c net.Conn
	err := netns.Do(s.Path, func() (err error) {
		// Without happy eyeballs: a second goroutine would be outside of the namespace.
		d := net.Dialer{Timeout: timeout, FallbackDelay: -1}
		c, err = d.Dial(network, address)
		return err
	})
	return c, err
}

// Cmd is a command that runs inside of a namespace.
type Cmd struct {
	*exec.Cmd
	ns *NS
}

// Command prepares a command that will run inside; it is killed when the test ends.
func (s *NS) Command(name string, args ...string) *Cmd {
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = time.Second
	return &Cmd{Cmd: c, ns: s}
}

// Start starts the command inside.
func (c *Cmd) Start() error { return netns.Do(c.ns.Path, c.Cmd.Start) }

// Run starts the command inside and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// CombinedOutput runs the command inside and returns what it wrote.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// Output runs the command inside and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout = &b
	err := c.Run()
	return b.Bytes(), err
}
