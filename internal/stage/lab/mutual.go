package lab

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"
)

// Mutual is what the sidecars of one mesh prove themselves with to each other.
type Mutual struct {
	cert tls.Certificate
	pool *x509.CertPool
}

// NewMutual makes a mesh's credentials.
func NewMutual() (*Mutual, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, err
	}
	m := &Mutual{cert: cert, pool: x509.NewCertPool()}
	m.pool.AddCert(leaf)
	return m, nil
}

func (m *Mutual) client() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{m.cert}, RootCAs: m.pool, ServerName: "web.lab", MinVersion: tls.VersionTLS13}
}

func (m *Mutual) server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{m.cert}, ClientCAs: m.pool, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
}

// sniffFor is how long a client may be silent before the server is asked to speak first. On a busy machine
// it may be long until a client comes to speak, and the lab's servers behind this never begin.
const sniffFor = opTimeout

// accept takes an encrypted connection, or a plain one as it is.
func (m *Mutual) accept(c *net.TCPConn) (stream, error) {
	const handshake = 0x16 // TLS's content type, the first byte
	p := &peeked{stream: c, r: bufio.NewReader(c)}
	_ = c.SetReadDeadline(time.Now().Add(sniffFor))
	first, err := p.r.Peek(1)
	_ = c.SetReadDeadline(time.Time{})
	if err != nil || first[0] != handshake {
		return p, nil // silence, too: it may be waiting for the server
	}
	t := tls.Server(p, m.server())
	_ = t.SetDeadline(time.Now().Add(opTimeout))
	if err := t.Handshake(); err != nil {
		return nil, err
	}
	_ = t.SetDeadline(time.Time{})
	return t, nil
}

// peeked is a connection of which something was read already. Its ways around Read are hidden.
type peeked struct {
	stream
	r *bufio.Reader
}

// Read reads what was peeked at first.
func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }
