package tls_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	ctls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/tls"
)

// identity makes a self-signed certificate.
func identity(t *testing.T) ctls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "live.example", Organization: []string{"Live"}},
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"live.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return ctls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// exchange records a handshake and one line each way; a refused handshake is recorded too.
func exchange(t *testing.T, server, client *ctls.Config) parsertest.Case {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b, err := l.Accept()
		if err != nil {
			return
		}
		defer b.Close()
		s := ctls.Server(b, server)
		if s.Handshake() == nil {
			io.Copy(s, s)
		}
	}()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a.SetDeadline(time.Now().Add(10 * time.Second))
	var rec parsertest.Recorder
	c := ctls.Client(rec.Client(a), client)
	if err := c.Handshake(); err == nil {
		c.Write([]byte("hello"))
		io.ReadFull(c, make([]byte, 5))
	}
	a.Close()
	<-done
	return rec.Case("live")
}

// longALPN makes a ClientHello of more than 8 KiB.
func longALPN() []string {
	out := []string{"h2"}
	for i := range 60 {
		out = append(out, fmt.Sprintf("%03d-%s", i, strings.Repeat("p", 200)))
	}
	return out
}

func TestLive(t *testing.T) {
	cert := identity(t)
	cache := ctls.NewLRUClientSessionCache(4)
	tests := []struct {
		name            string
		min, max        uint16
		server, client  []string // ALPN
		curves          []ctls.CurveID
		cache           ctls.ClientSessionCache
		version, alpn   string
		subject, threat bool
		refused         string
	}{
		{name: "1.3", max: ctls.VersionTLS13, server: []string{"h2"}, client: []string{"h2", "http/1.1"}, version: "TLSv1.3", alpn: "h2"},
		{name: "1.3 hello retry", max: ctls.VersionTLS13, curves: []ctls.CurveID{ctls.CurveP521}, version: "TLSv1.3"},
		{name: "1.3 long hello", max: ctls.VersionTLS13, server: []string{"h2"}, client: longALPN(), version: "TLSv1.3", alpn: "h2"},
		{name: "1.2", max: ctls.VersionTLS12, server: []string{"b"}, client: []string{"a", "b"}, version: "TLSv1.2", alpn: "b", subject: true},
		{name: "1.2 no alpn chosen", max: ctls.VersionTLS12, client: []string{"a", "b"}, version: "TLSv1.2", alpn: "a", subject: true},
		{name: "1.2 full for resumption", max: ctls.VersionTLS12, cache: cache, version: "TLSv1.2", subject: true},
		{name: "1.2 resumed", max: ctls.VersionTLS12, cache: cache, version: "TLSv1.2"},
		{name: "1.1", max: ctls.VersionTLS11, version: "TLSv1.1", subject: true, threat: true},
		{name: "1.0", max: ctls.VersionTLS10, version: "TLSv1.0", subject: true, threat: true},
		{name: "version refused", min: ctls.VersionTLS13, max: ctls.VersionTLS12, refused: "protocol_version"},
		{name: "alpn refused", max: ctls.VersionTLS13, server: []string{"x"}, client: []string{"y"}, alpn: "y", refused: "no_application_protocol"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := &ctls.Config{Certificates: []ctls.Certificate{cert}, MinVersion: max(tt.min, ctls.VersionTLS10), NextProtos: tt.server, CurvePreferences: tt.curves}
			if tt.cache != nil {
				srv.SetSessionTicketKeys([][32]byte{{1}})
			}
			cli := &ctls.Config{ServerName: "live.example", InsecureSkipVerify: true, MinVersion: ctls.VersionTLS10, MaxVersion: tt.max,
				NextProtos: tt.client, ClientSessionCache: tt.cache}
			c := exchange(t, srv, cli)
			f, err := parsertest.Replay(tls.New(), app.TLS, c.Meta, c.Messages)
			if err != nil {
				t.Fatal(err)
			}
			want := map[parsers.Attr]string{parsers.Host: "live.example", parsers.Version: tt.version, parsers.ALPN: tt.alpn, parsers.Error: tt.refused}
			if want[parsers.Subject] = ""; tt.subject {
				want[parsers.Subject] = "CN=live.example,O=Live"
			}
			for a, v := range want {
				if got := f.Value(a); got != v {
					t.Errorf("%s: got %q want %q", a, got, v)
				}
			}
			if len(f.Value(parsers.JA3)) != 32 || len(f.Value(parsers.JA4)) != 36 {
				t.Errorf("fingerprints: got %q and %q", f.Value(parsers.JA3), f.Value(parsers.JA4))
			}
			if got := len(f.Threats) > 0; got != tt.threat {
				t.Errorf("threats: got %v want some: %v", f.Threats, tt.threat)
			}
			c.Want = f
			c.Want.App, c.Want.Base, c.Want.Strength, c.Want.Final = "tls", "tls", parsers.Certain, true
			c.ClientOnly, c.ServerOnly = "tls", "tls"
			parsertest.Check(t, tls.New(), app.TLS, &c)
		})
	}
}
