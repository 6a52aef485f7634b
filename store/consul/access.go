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

// Access holds the credentials of a store and Consul's authority. Empty fields are read from the
// environment: CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE, CONSUL_CACERT, CONSUL_CLIENT_CERT,
// CONSUL_CLIENT_KEY, CONSUL_TLS_SERVER_NAME.
type Access struct {
	// TokenFile holds the ACL token. It is read again when it changes.
	TokenFile string
	// CA, Cert and Key are files: the authority of Consul's certificate, and a certificate of this client.
	CA, Cert, Key string
}

// apply adds the access to a client's configuration.
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
	at    time.Time  // when the file was read
	mtime time.Time
	token string
}

// tokenAge is how long a token is used before the file is read again.
const tokenAge = time.Second

// RoundTrip sends a request.
func (t *tokens) RoundTrip(r *http.Request) (*http.Response, error) {
	if token := t.current(); token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("X-Consul-Token", token)
	}
	return t.RoundTripper.RoundTrip(r)
}

// current returns the token; the previous one if the file is unreadable.
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

// explain adds what to do about a permanent error.
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
		hint = "Consul's certificate is of an unknown authority: set --store-ca or CONSUL_CACERT"
	case errors.As(err, &host):
		hint = "Consul's certificate is for other addresses: give one of those in --store"
	case errors.As(err, &invalid):
		hint = "Consul's certificate is not valid"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"), strings.Contains(text, "first record does not look like a TLS handshake"):
		hint = "this address does not use TLS: use consul:// instead of consuls://"
	case strings.Contains(text, "HTTP request to an HTTPS server"), strings.Contains(text, "malformed HTTP response"):
		hint = "this address uses TLS: use consuls:// instead of consul://"
	case strings.Contains(text, "remote error: tls:"):
		hint = "Consul refuses the certificate of this client: give one by --store-cert and --store-key, or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY"
	case errors.As(err, &dns):
		hint = "the host name in --store is unknown"
	case strings.Contains(text, "Unexpected response code: 404"), strings.Contains(text, "invalid character"):
		hint = "the server is not Consul: check the address in --store"
	default:
		return err
	}
	return fmt.Errorf("%s: %w", hint, err)
}

// plain reports whether an operator must fix an error.
func plain(err error) bool {
	return err != nil && explain(err).Error() != err.Error()
}

// complaints logs that Consul is unavailable, once, then each complainEvery, and its return.
type complaints struct {
	mu    sync.Mutex // guards what follows
	since time.Time  // of the first unanswered request; zero for none
	told  time.Time
}

const (
	complainAfter = 2 * time.Second // a leader that dies is replaced sooner
	complainEvery = 30 * time.Second
)

// logOutcome logs the outcome of a request.
func (s *Store) logOutcome(err error) {
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
	s.log.Warn("consul does not answer, retrying", "addresses", strings.Join(s.names, ", "), "error", explain(err))
}
