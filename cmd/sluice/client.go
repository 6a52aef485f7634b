package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// dialSocket connects to the gRPC service on a unix socket. The socket's rights are the access control.
func dialSocket(path string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///sluice", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectWait,
			Backoff: backoff.Config{BaseDelay: firstReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: lastReconnect}}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
}

// connectWait is how long one attempt to connect may take on a busy machine.
const connectWait = 20 * time.Second

// maxAnswer bounds what a list may bring; 100,000 connections are about 20 MiB.
const maxAnswer = 256 << 20

// call runs fn with a client of the daemon and makes its errors sentences.
func (c *cli) call(ctx context.Context, fn func(context.Context, controlv1.ControlClient) error) error {
	probe, err := net.Dial("unix", c.socket)
	if err != nil && c.socket == defaultSocket && !errors.Is(err, fs.ErrPermission) {
		// A machine with an agent alone has an agent's socket.
		if other, oerr := net.Dial("unix", agentSocket); oerr == nil || errors.Is(oerr, fs.ErrPermission) {
			probe, err, c.socket = other, oerr, agentSocket
		}
	}
	if err != nil {
		return c.noDaemon(err)
	}
	probe.Close()
	cc, err := dialSocket(c.socket)
	if err != nil {
		return err
	}
	defer cc.Close()
	err = fn(ctx, controlv1.NewControlClient(cc))
	st, ok := status.FromError(err)
	switch {
	case err == nil || ctx.Err() != nil && st.Code() == codes.Canceled:
		return nil
	case !ok:
		return err
	case st.Code() == codes.Unavailable:
		return fmt.Errorf("the sluice on %s went away: %s", c.socket, st.Message())
	case st.Code() == codes.Unimplemented:
		return fmt.Errorf("the sluice on %s is older than this one and cannot do this: update it", c.socket)
	case st.Code() == codes.DeadlineExceeded:
		return fmt.Errorf("the sluice on %s did not answer in time: look at its log", c.socket)
	}
	return errors.New(st.Message())
}

func (c *cli) noDaemon(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the socket %s may be used by root only: try `sudo %s`", c.socket, strings.Join(append([]string{"sluice"}, os.Args[1:]...), " "))
	}
	return fmt.Errorf("no sluice is listening on %s: start one with `sluice standalone`, or give its socket with --socket", c.socket)
}
