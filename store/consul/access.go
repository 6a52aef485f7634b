package consul

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// Access is how a store proves to be allowed, and knows that Consul is Consul. What is empty is what the
// environment says: CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE, CONSUL_CACERT, CONSUL_CLIENT_CERT,
// CONSUL_CLIENT_KEY, CONSUL_TLS_SERVER_NAME.
type Access struct {
	// TokenFile holds the ACL token. It is read again when it changes.
	TokenFile string
	// CA, Cert and Key are files: who signed Consul's certificate, and a certificate for this client.
	CA, Cert, Key string
}

// apply puts the access into a client's configuration.
func (a *Access) apply(cfg *api.Config) error {
	for _, v := range []struct {
		to   *string
		from string
	}{{&cfg.TokenFile, a.TokenFile}, {&cfg.TLSConfig.CAFile, a.CA}, {&cfg.TLSConfig.CertFile, a.Cert}, {&cfg.TLSConfig.KeyFile, a.Key}} {
		if v.from == "" {
			continue
		}
		if _, err := os.ReadFile(v.from); err != nil {
			return err
		}
		*v.to = v.from
	}
	return nil
}

// tokens sets the token of a file on each request.
type tokens struct {
	http.RoundTripper
	file string

	mu    sync.Mutex // guards what follows
	at    time.Time  // when the file was looked at
	mtime time.Time
	token string
}

// tokenAge is how long a token is used before the file is looked at again.
const tokenAge = time.Second

// RoundTrip sends a request.
func (t *tokens) RoundTrip(r *http.Request) (*http.Response, error) {
	if token := t.current(); token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("X-Consul-Token", token)
	}
	return t.RoundTripper.RoundTrip(r)
}

// current is the token; the one before where the file cannot be read now.
func (t *tokens) current() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.at) < tokenAge {
		return t.token
	}
	t.at = time.Now()
	info, err := os.Stat(t.file)
	if err != nil || info.ModTime().Equal(t.mtime) {
		return t.token
	}
	if data, err := os.ReadFile(t.file); err == nil && len(strings.TrimSpace(string(data))) > 0 {
		t.token, t.mtime = strings.TrimSpace(string(data)), info.ModTime()
	}
	return t.token
}

// explain says what to do about an error that trying again does not mend.
func explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var dns *net.DNSError
	hint := ""
	switch text := err.Error(); {
	case strings.Contains(text, "ACL not found"):
		hint = "Consul does not know this token: give the right one by --store-token-file or CONSUL_HTTP_TOKEN"
	case strings.Contains(text, "Permission denied"):
		hint = "the token may not do this: it needs key_prefix and session_prefix \"write\" for a controller, key_prefix \"read\" for an agent (--store-token-file or CONSUL_HTTP_TOKEN)"
	case errors.As(err, &unknown):
		hint = "nobody known signed Consul's certificate: name its authority by --store-ca or CONSUL_CACERT"
	case errors.As(err, &host):
		hint = "Consul's certificate is for other addresses: give one of those in --store"
	case errors.As(err, &invalid):
		hint = "Consul's certificate is not valid"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"), strings.Contains(text, "first record does not look like a TLS handshake"):
		hint = "this address does not speak TLS: use consul:// instead of consuls://"
	case strings.Contains(text, "HTTP request to an HTTPS server"), strings.Contains(text, "malformed HTTP response"):
		hint = "this address speaks TLS: use consuls:// instead of consul://"
	case strings.Contains(text, "remote error: tls:"):
		hint = "Consul refuses the certificate of this client: give one by --store-cert and --store-key, or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY"
	case errors.As(err, &dns):
		hint = "the name in --store is not known"
	case strings.Contains(text, "Unexpected response code: 404"), strings.Contains(text, "invalid character"):
		hint = "what answers there is no Consul: is the address in --store right?"
	default:
		return err
	}
	return fmt.Errorf("%s: %w", hint, err)
}

// plain says whether an error is one that an operator has to mend.
func plain(err error) bool {
	return err != nil && explain(err).Error() != err.Error()
}

// complaints tell of a Consul that is away, once, then each complainEvery, and of its return.
type complaints struct {
	mu    sync.Mutex // guards what follows
	since time.Time  // of the first request that nobody answered; zero while all is well
	told  time.Time
}

const (
	complainAfter = 2 * time.Second // a leader that dies is replaced sooner
	complainEvery = 30 * time.Second
)

// note takes the outcome of a request.
func (s *Store) note(err error) {
	c := &s.away
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if err == nil {
		if !c.told.IsZero() {
			s.log.Info("consul answers again", "after", now.Sub(c.since).Round(time.Second))
		}
		c.since, c.told = time.Time{}, time.Time{}
		return
	}
	if c.since.IsZero() {
		c.since = now
	}
	if now.Sub(c.since) < complainAfter && !plain(err) || now.Sub(c.told) < complainEvery {
		return
	}
	c.told = now
	s.log.Warn("consul does not answer, trying again", "addresses", strings.Join(s.names, ", "), "error", explain(err))
}
