package mtls

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Role is the role of a machine.
type Role uint8

// Roles. The zero has no certificate of the authority.
const (
	Nobody Role = iota
	Agent
	Controller
)

// String returns the role in the form of certificates.
func (r Role) String() string {
	switch r {
	case Agent:
		return "agent"
	case Controller:
		return "controller"
	}
	return "nobody"
}

// Identity is the holder in a certificate.
type Identity struct {
	Role Role
	Name string
}

// String returns "role/name".
func (i Identity) String() string { return i.Role.String() + "/" + i.Name }

// ParseIdentity parses the result of String.
func ParseIdentity(text string) (Identity, error) {
	role, name, ok := strings.Cut(text, "/")
	for _, r := range []Role{Agent, Controller} {
		if ok && name != "" && role == r.String() {
			return Identity{r, name}, nil
		}
	}
	return Identity{}, fmt.Errorf("identity %q is of no known kind", text)
}

// scheme is that of the URI with the holder in a certificate.
const scheme = "sluice"

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Role.String(), Path: "/" + i.Name}
}

// identityOf reads a verified certificate.
func identityOf(c *x509.Certificate) (Identity, error) {
	for _, u := range c.URIs {
		if u.Scheme == scheme {
			return ParseIdentity(u.Host + u.Path)
		}
	}
	return Identity{}, errors.New("the certificate has no role of its holder")
}

// Peer returns the caller; the zero without TLS, or if its certificate has expired since the connection was
// made.
func Peer(ctx context.Context) Identity {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Identity{}
	}
	leaf := info.State.VerifiedChains[0][0]
	id, err := identityOf(leaf)
	if err != nil || time.Now().After(leaf.NotAfter) {
		return Identity{}
	}
	return id
}
