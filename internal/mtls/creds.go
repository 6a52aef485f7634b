package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
)

// Server returns a controller's credentials: callers must have a certificate of the same authority.
func (f *Files) Server() credentials.TransportCredentials { return &creds{f} }

// Dial returns a connection to a controller, which connects on demand, and again within about a second
// after an outage. The controller must have a controller's certificate of the same authority, for its host
// name.
func (f *Files) Dial(address string) (*grpc.ClientConn, error) {
	retry := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	c, err := grpc.NewClient("dns:///"+address, grpc.WithTransportCredentials(&creds{f}), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 2 * time.Second}))
	if err != nil {
		return nil, fmt.Errorf("controller %s: %w", address, err)
	}
	return c, nil
}

// creds makes each connection with the current contents of the folder; its errors include what to do.
type creds struct{ f *Files }

var _ credentials.TransportCredentials = (*creds)(nil)

// ClientHandshake verifies that the server is a controller.
func (c *creds) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	pair, pool := c.f.current()
	if err := c.f.expired(pair.Leaf); err != nil {
		return nil, nil, err
	}
	inner := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{*pair},
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := identityOf(s.PeerCertificates[0])
			if err == nil && id.Role != Controller {
				err = fmt.Errorf("the certificate is that of %s, which is no controller: is the address right?", id)
			}
			return err
		}})
	out, info, err := inner.ClientHandshake(ctx, authority, conn)
	if err != nil {
		return nil, nil, explain("the controller's certificate is refused", err)
	}
	return &answered{Conn: out}, info, nil
}

// ServerHandshake accepts clients with a certificate of the authority.
func (c *creds) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	pair, pool := c.f.current()
	inner := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, Certificates: []tls.Certificate{*pair}})
	out, info, err := inner.ServerHandshake(conn)
	if err == nil {
		return out, info, nil
	}
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	if err = explain("the caller's certificate is refused", err); c.f.sometimes(host + err.Error()) {
		c.f.log.Warn("client rejected", "address", host, "error", err)
	}
	return nil, nil, err
}

// Info returns that of TLS.
func (c *creds) Info() credentials.ProtocolInfo { return credentials.NewTLS(nil).Info() }

// Clone returns the same value, which is immutable.
func (c *creds) Clone() credentials.TransportCredentials { return c }

// OverrideServerName is not supported.
func (c *creds) OverrideServerName(string) error {
	return errors.New("the server's name is its address")
}

// explain adds what to do about a failed handshake.
func explain(what string, err error) error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%s: it expired on %s, or one of the clocks is wrong: renew it with `sluice certs --renew`: %w", what, invalid.Cert.NotAfter.Format(time.DateOnly), err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%s: another authority signed it: all machines need folders made by one `sluice certs --out`: %w", what, err)
	case errors.As(err, &host):
		return fmt.Errorf("%s: it is for other addresses: name every address of a controller with `sluice certs --controllers NAME=ADDRESS+ADDRESS`: %w", what, err)
	case strings.Contains(err.Error(), "first record does not look like a TLS handshake"):
		return fmt.Errorf("the other side does not speak TLS: %w", err)
	case strings.Contains(err.Error(), "remote error: tls:"):
		return refused(err)
	}
	return err
}

// refused explains an alert of the other side.
func refused(err error) error {
	hint := ""
	switch text := err.Error(); {
	case strings.Contains(text, "expired"):
		hint = " as expired: renew it with `sluice certs --renew`, or set the clocks right"
	case strings.Contains(text, "unknown certificate authority"):
		hint = " as that of another authority: all machines need folders made by one `sluice certs --out`"
	}
	return fmt.Errorf("the other side refuses this machine's certificate%s: %w", hint, err)
}

// answered is a connection to a controller, whose first read shows whether it accepts the certificate.
type answered struct{ net.Conn }

// Read explains the controller's refusal.
func (a *answered) Read(b []byte) (int, error) {
	n, err := a.Conn.Read(b)
	if err != nil && strings.Contains(err.Error(), "remote error: tls:") {
		err = refused(err)
	}
	return n, err
}
