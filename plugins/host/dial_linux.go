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

// windows are the options of a connection on which messages follow each other quickly: HTTP/2 windows that
// do not have to be measured, which costs messages of its own, and room for whole ones.
func windows() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithInitialWindowSize(wire.Window), grpc.WithInitialConnWindowSize(2 * wire.Window),
		grpc.WithReadBufferSize(wire.Buffer), grpc.WithWriteBufferSize(wire.Buffer)}
}

// dial connects to the plugin's socket. The kernel knows which process listens there (SO_PEERCRED); it must be
// the one that was started, as nothing but the socket's place speaks for it. Certificates would say the same and cost
// each message its encryption.
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

// peerIs checks which process is at the other end.
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
		return fmt.Errorf("ask who listens on a plugin's socket: %w", cerr)
	}
	if int(peer.Pid) != pid {
		return errors.New("another process than the plugin listens on its socket")
	}
	return nil
}
