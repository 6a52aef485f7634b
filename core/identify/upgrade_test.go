package identify_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/parsers"
)

// said is what one side sends at once.
type said struct {
	dir  parsers.Dir
	text string
}

// upgrades are conversations up to the point where another protocol begins.
var upgrades = []struct {
	app  app.ID
	what string
	talk []said
}{
	{app.SMTP, "STARTTLS", []said{{1, "220 mx ESMTP\r\n"}, {0, "EHLO a\r\n"}, {1, "250-mx\r\n250 STARTTLS\r\n"}, {0, "STARTTLS\r\n"}, {1, "220 go ahead\r\n"}}},
	{app.FTP, "AUTH TLS", []said{{1, "220 FTP\r\n"}, {0, "AUTH TLS\r\n"}, {1, "234 go ahead\r\n"}}},
	{app.IMAP, "STARTTLS", []said{{1, "* OK ready\r\n"}, {0, "a CAPABILITY\r\n"}, {1, "* CAPABILITY IMAP4rev1\r\na OK done\r\n"}, {0, "b STARTTLS\r\n"}, {1, "b OK begin\r\n"}}},
	{app.POP3, "STLS", []said{{1, "+OK POP3\r\n"}, {0, "CAPA\r\n"}, {1, "+OK\r\nSTLS\r\n.\r\n"}, {0, "STLS\r\n"}, {1, "+OK begin\r\n"}}},
	{app.LDAP, "StartTLS", []said{{0, "0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037"}, {1, "0\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"}}},
	{app.PostgreSQL, "SSLRequest", []said{{0, "\x00\x00\x00\x08\x04\xd2\x16\x2f"}, {1, "S"}}},
	{app.MySQL, "SSLRequest", []said{
		{1, "I\x00\x00\x00\n8.4.2\x00\x0b\x00\x00\x00abcdefgh\x00\xff\xff-\x02\x00\xff\xdf\x15" + strings.Repeat("\x00", 10) + "ijklmnopqrst\x00caching_sha2_password\x00"},
		{0, "\x20\x00\x00\x01\x00\x8a\x08\x00\x00\x00\x00\x01\xff" + strings.Repeat("\x00", 23)}}},
	{app.XMPP, "starttls", []said{{0, "<stream:stream xmlns='jabber:client' to='a'>"}, {1, "<stream:stream xmlns='jabber:client'><stream:features/>"}, {0, "<starttls/>"}, {1, "<proceed/>"}}},
	{app.HTTP, "CONNECT", []said{{0, "CONNECT a.example:443 HTTP/1.1\r\n\r\n"}, {1, "HTTP/1.1 200 OK\r\n\r\n"}}},
	{app.HTTP, "Upgrade", []said{{0, "GET / HTTP/1.1\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade\r\n\r\n"}, {1, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.2\r\n\r\n"}}},
}

// TestUpgraded follows each change to TLS with a handshake of Go's own, whole, in small pieces, and with neighbours of
// the two sides exchanged.
func TestUpgraded(t *testing.T) {
	hello := handshake(t)
	for _, u := range upgrades {
		for _, cut := range []int{1, 3, 17, 10000} {
			talk := append(append([]said{{0, "PROXY TCP6 2001:db8::9 2001:db8::80 40001 80\r\n"}}, u.talk...), hello...)
			checkUpgraded(t, fmt.Sprintf("%s %s, cut %d", u.app.Name(), u.what, cut), u.app, deliver(t, pieces(talk, cut)))
		}
		for seed := range uint64(4) {
			talk := shuffle(append(append([]said{}, u.talk...), hello...), rand.New(rand.NewPCG(seed, 1)))
			f := deliver(t, talk)
			if f.App != u.app {
				t.Errorf("%s %s, shuffle %d: %s", u.app.Name(), u.what, seed, f.App.Name())
			}
		}
		f := deliver(t, pieces(append(append([]said{}, u.talk...), said{0, "no TLS at all\r\n"}, said{1, "neither\r\n"}), 17))
		if got := attr(f, parsers.Inner); got != "" || f.App != u.app && u.app != app.PostgreSQL { // whose parser wants TLS there
			t.Errorf("%s %s without TLS: %s, inner %q", u.app.Name(), u.what, f.App.Name(), got)
		}
	}
}

func checkUpgraded(t *testing.T, what string, want app.ID, f *identify.Flow) {
	t.Helper()
	if f.App != want || f.Base != want {
		t.Errorf("%s: %s on %s", what, f.App.Name(), f.Base.Name())
	}
	for a, want := range map[parsers.Attr]string{parsers.Inner: "tls", parsers.ALPN: "inner/1", parsers.ProxyClient: "[2001:db8::9]:40001"} {
		if got := attr(f, a); got != want {
			t.Errorf("%s: %s %q, want %q", what, a, got, want)
		}
	}
	if attr(f, parsers.JA4) == "" {
		t.Errorf("%s: no fingerprint of the client", what)
	}
}

// TestUpgradedToOthers follows CONNECT and Upgrade to what is not TLS.
func TestUpgradedToOthers(t *testing.T) {
	const settings = "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00@\x00"
	h2c := []said{{0, "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"}, {1, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + settings}, {0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings}}
	tests := []struct {
		what, inner string
		talk        []said
	}{
		{"ssh through a proxy", "ssh", []said{{0, "CONNECT a:22 HTTP/1.1\r\n\r\n"}, {1, "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-a\r\n"}, {0, "SSH-2.0-b\r\n"}}},
		{"refused by the proxy", "", []said{{0, "CONNECT a:22 HTTP/1.1\r\n\r\n"}, {1, "HTTP/1.1 403 No\r\n\r\n"}, {0, "SSH-2.0-b\r\n"}}},
		{"h2c", "http2", h2c},
		{"h2c not accepted", "", []said{h2c[0], {1, "HTTP/1.1 200 OK\r\n\r\n"}, h2c[2]}},
		{"a proxy within a proxy", "http", []said{{0, "CONNECT a:80 HTTP/1.1\r\n\r\n"}, {1, "HTTP/1.1 200 OK\r\n\r\n"}, {0, "CONNECT b:80 HTTP/1.1\r\n\r\n"}, {1, "HTTP/1.1 200 OK\r\n\r\n"}}},
	}
	for _, tt := range tests {
		for _, cut := range []int{1, 3, 10000} {
			f := deliver(t, pieces(tt.talk, cut))
			if got := attr(f, parsers.Inner); got != tt.inner || f.App != app.HTTP {
				t.Errorf("%s, cut %d: %s, inner %q; want %q", tt.what, cut, f.App.Name(), got, tt.inner)
			}
		}
	}
}

func attr(f *identify.Flow, a parsers.Attr) string {
	for i := range f.Attrs.Len() {
		if key, value := f.Attrs.At(i); key == a {
			return value
		}
	}
	return ""
}

// deliver feeds a session's segments, and ends it.
func deliver(t *testing.T, talk []said) *identify.Flow {
	p := pool(t, nil, false)
	f := p.Begin(meta(6), 7)
	seq := [2]uint32{1, 1}
	for _, s := range talk {
		if f.Wants() {
			p.Feed(f, s.dir, identify.Bytes{Data: []byte(s.text), Wire: len(s.text), Seq: seq[s.dir], First: 1})
		}
		seq[s.dir] += uint32(len(s.text))
	}
	p.End(f)
	return f
}

func pieces(talk []said, n int) (out []said) {
	for _, s := range talk {
		for text := s.text; text != ""; {
			k := min(n, len(text))
			out, text = append(out, said{s.dir, text[:k]}), text[k:]
		}
	}
	return out
}

// shuffle exchanges neighbours of different sides.
func shuffle(talk []said, rng *rand.Rand) []said {
	for i := 1; i < len(talk); i++ {
		if talk[i].dir != talk[i-1].dir && rng.IntN(2) == 0 {
			talk[i], talk[i-1] = talk[i-1], talk[i]
		}
	}
	return talk
}

// handshake returns the messages of a TLS handshake.
func handshake(t *testing.T) []said {
	t.Helper()
	var r recorder
	a, b := net.Pipe()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	conf := server.TLS.Clone()
	conf.NextProtos = []string{"inner/1"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := tls.Server(recorded{b, 1, &r}, conf)
		_, _ = io.Copy(io.Discard, s)
	}()
	c := tls.Client(recorded{a, 0, &r}, &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, NextProtos: []string{"inner/1"}}) //nolint:gosec // nothing is protected here
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-done
	return r.talk
}

type recorder struct {
	mu   sync.Mutex
	talk []said // guarded by mu
}

// recorded records what its end writes.
type recorded struct {
	net.Conn
	dir parsers.Dir
	r   *recorder
}

func (c recorded) Write(b []byte) (int, error) {
	c.r.mu.Lock()
	c.r.talk = append(c.r.talk, said{c.dir, string(b)})
	c.r.mu.Unlock()
	return c.Conn.Write(b)
}
