package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Role is what a machine is.
type Role uint8

// Roles. Nobody is the zero: who has no certificate of ours.
const (
	Nobody Role = iota
	Agent
	Controller
)

// String is the role as certificates have it.
func (r Role) String() string {
	switch r {
	case Agent:
		return "agent"
	case Controller:
		return "controller"
	}
	return "nobody"
}

// Identity is what a certificate says of its holder.
type Identity struct {
	Role Role
	Name string
}

// String is "role/name".
func (i Identity) String() string { return i.Role.String() + "/" + i.Name }

// ParseIdentity reads what String wrote.
func ParseIdentity(text string) (Identity, error) {
	role, name, ok := strings.Cut(text, "/")
	for _, r := range []Role{Agent, Controller} {
		if ok && name != "" && role == r.String() {
			return Identity{r, name}, nil
		}
	}
	return Identity{}, fmt.Errorf("identity %q is of no known kind", text)
}

// scheme of the URI in a certificate that says who it is for.
const scheme = "sluice"

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Role.String(), Path: "/" + i.Name}
}

// identityOf reads a certificate that was verified already.
func identityOf(c *x509.Certificate) (Identity, error) {
	for _, u := range c.URIs {
		if u.Scheme == scheme {
			return ParseIdentity(u.Host + u.Path)
		}
	}
	return Identity{}, errors.New("the certificate does not say what its holder is")
}

// Files is a machine's folder of certificates, checked.
type Files struct {
	dir string
	// Identity is that of the machine's own certificate.
	Identity Identity
	pool     *x509.CertPool
}

// Load checks a machine's folder, as Issue made it.
func Load(dir string) (*Files, error) {
	if _, err := os.Stat(filepath.Join(dir, fileKey)); err != nil {
		return nil, fmt.Errorf("certificates: %w: make them with `sluice certs`, and give the machine's own folder", err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, fileCA))
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	f := &Files{dir: dir, pool: x509.NewCertPool()}
	if !f.pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates: %s holds no certificate", filepath.Join(dir, fileCA))
	}
	c, err := f.pair()
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	if f.Identity, err = identityOf(c.Leaf); err != nil {
		return nil, fmt.Errorf("certificates: %s: %w", filepath.Join(dir, fileCert), err)
	}
	return f, nil
}

// pair reads certificate and key, anew for each connection: new ones need no restart.
func (f *Files) pair() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(filepath.Join(f.dir, fileCert), filepath.Join(f.dir, fileKey))
	return &c, err
}

// Server is what a controller serves with: callers must have a certificate of the same authority.
func (f *Files) Server() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, ClientCAs: f.pool, ClientAuth: tls.RequireAndVerifyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.pair() },
	})
}

// Dial makes a connection to a controller, which comes about when it is needed, and again within about
// a second when the controller was away.
func (f *Files) Dial(address string) (*grpc.ClientConn, error) {
	retry := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	c, err := grpc.NewClient("dns:///"+address, grpc.WithTransportCredentials(f.client()), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 2 * time.Second}))
	if err != nil {
		return nil, fmt.Errorf("controller %s: %w", address, err)
	}
	return c, nil
}

// client is what a controller is called with: it must have a controller's certificate of the same
// authority, for the host that was called.
func (f *Files) client() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: f.pool,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.pair() },
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := identityOf(s.PeerCertificates[0])
			if err == nil && id.Role != Controller {
				err = fmt.Errorf("%s answers, which is no controller", id)
			}
			return err
		},
	})
}

// Peer is who makes a call; Nobody where it does not come over TLS.
func Peer(ctx context.Context) Identity {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Identity{}
	}
	id, err := identityOf(info.State.VerifiedChains[0][0])
	if err != nil {
		return Identity{}
	}
	return id
}
