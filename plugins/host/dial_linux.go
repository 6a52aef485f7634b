package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/sluicenet/sluice/plugins/wire"
)

// windows are the options of a connection with many messages: fixed HTTP/2 windows, because measuring them
// costs messages, and buffers for whole messages.
func windows() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithInitialWindowSize(wire.Window), grpc.WithInitialConnWindowSize(2 * wire.Window),
		grpc.WithReadBufferSize(wire.Buffer), grpc.WithWriteBufferSize(wire.Buffer)}
}

// dial connects to the plugin's socket. The listener by SO_PEERCRED must be the started process, because
// the path alone does not authenticate it. Certificates would cost encryption of each message.
func (l *live) dial(ctx context.Context, _ string) (net.Conn, error) {
	if l.addr.Network() != "unix" {
		return nil, fmt.Errorf("the plugin listens on %s %s, not on a unix socket", l.addr.Network(), l.addr)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", l.addr.String())
	if err != nil {
		return nil, err
	}
	if err := peerIs(c.(*net.UnixConn), l.run.Load().pid()); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// peerIs checks the process at the other end.
func peerIs(c syscall.Conn, pid int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { peer, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if cerr != nil {
		return fmt.Errorf("read the peer of a plugin's socket: %w", cerr)
	}
	if int(peer.Pid) != pid {
		return errors.New("a process other than the plugin listens on its socket")
	}
	return nil
}
