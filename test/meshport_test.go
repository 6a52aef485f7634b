package test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	labs "github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// fromPort connects from a port that was used before, as the kernel does when applications connect often.
func fromPort(from *testnet.Workload, family, addr string, port int) (c net.Conn, err error) {
	local := &net.TCPAddr{IP: from.IPv4.AsSlice(), Port: port}
	if family == "tcp6" {
		local.IP = from.IPv6.AsSlice()
	}
	d := net.Dialer{Timeout: 20 * time.Second, LocalAddr: local, Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	}}
	from.Do(func() error {
		c, err = d.Dial(family, addr)
		return nil
	})
	return c, err
}

// TestMeshPortUsedAgain goes to several places from one port, one after the other. On lo they all look
// the same, because they all go to the sidecar; each is judged and refused as what it is.
func TestMeshPortUsedAgain(t *testing.T) {
	l := newLab(t)
	l.sidecar(l.web, "iptables-nft", labs.SidecarConfig{})
	l.start()
	l.attached("web", "lo", "nfqueue")
	const rounds = 3
	l.rounds(rounds)
	l.learnedByName("web", "api", 8080, "http", rounds)
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "inline")
	for _, family := range families {
		for i, port := range []int{8080, 9090, 8080} {
			c, err := fromPort(l.web, family, l.api.Addr(family, port), 45000)
			if err == nil {
				err = request(c)
				c.Close()
			}
			if refused := port == 9090; (err != nil) != refused {
				t.Errorf("attempt %d, to port %d over %s: %v, want it refused: %v", i, port, family, err, refused)
			}
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Errorf("attempt %d, to port %d over %s: no reset came", i, port, family)
			}
			time.Sleep(50 * time.Millisecond) // until the sidecar has closed its side
		}
	}
	l.violated("web", "api", 9090)
}
