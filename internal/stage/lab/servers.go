package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/miekg/dns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/sluicenet/sluice/internal/netns"
)

// Ports that the lab's servers listen on.
const (
	portDNS   = 53
	portTLS   = 443
	portDB    = 5432
	portRedis = 6379
	portHTTP  = 8080
	portGRPC  = 9090
)

// Serve starts every server of the lab.
func (l *Lab) Serve() error {
	for _, s := range []struct {
		host  string
		what  string
		start func(*Host) (func(), error)
	}{
		{"api", "http", serveHTTP}, {"api", "grpc", serveGRPC}, {"web", "https", serveTLS},
		{"db", "postgresql", serveDB}, {"cache", "redis", serveRedis}, {"dns", "dns", l.serveDNS},
		{"cart", "http", serveHTTP}, {"pay", "http", serveHTTP},
	} {
		stop, err := s.start(l.hosts[s.host])
		if err != nil {
			return fmt.Errorf("start %s on %s: %w", s.what, s.host, err)
		}
		l.stops = append(l.stops, stop)
	}
	return l.mesh()
}

// mesh gives some machines their sidecars, which encrypt to each other.
func (l *Lab) mesh() error {
	m, err := NewMutual()
	if err != nil {
		return fmt.Errorf("credentials of the mesh: %w", err)
	}
	among := func(a netip.Addr) bool {
		return slices.ContainsFunc(l.Hosts(), func(h *Host) bool { return h.Meshed && (h.V4 == a || h.V6 == a) })
	}
	for _, h := range l.Hosts() {
		if !h.Meshed {
			continue
		}
		s, err := StartSidecar(SidecarConfig{NetNS: netns.Named(h.NetNS), Mutual: m, Meshed: among})
		if err != nil {
			return fmt.Errorf("sidecar of %s: %w", h.Name, err)
		}
		l.stops = append(l.stops, func() { _ = s.Close() })
	}
	return nil
}

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "lab")
	fmt.Fprintf(w, "you asked for %s\n", r.URL.Path)
}

func serveHTTP(h *Host) (func(), error) {
	ln, err := h.Listen(portHTTP)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.Serve(ln) }()
	return func() { s.Close() }, nil
}

func serveTLS(h *Host) (func(), error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	ln, err := h.Listen(portTLS)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 5 * time.Second, ErrorLog: quietLog}
	go func() {
		_ = s.Serve(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}))
	}()
	return func() { s.Close() }, nil
}

// selfSigned is a certificate for web.lab.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "web.lab"}, DNSNames: []string{"web.lab"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func serveGRPC(h *Host) (func(), error) {
	ln, err := h.Listen(portGRPC)
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer()
	healthv1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(ln) }()
	return s.Stop, nil
}

func serveRedis(h *Host) (func(), error) {
	m := miniredis.NewMiniRedis()
	if err := h.Do(func() error { return m.StartAddr(fmt.Sprintf(":%d", portRedis)) }); err != nil {
		return nil, err
	}
	return m.Close, nil
}

// serveDNS answers for NAME.lab with the addresses of the host.
func (l *Lab) serveDNS(h *Host) (func(), error) {
	var pc net.PacketConn
	err := h.Do(func() (err error) {
		pc, err = net.ListenPacket("udp", fmt.Sprintf(":%d", portDNS))
		return err
	})
	if err != nil {
		return nil, err
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(l.resolve)}
	go func() { _ = s.ActivateAndServe() }()
	return func() { pc.Close() }, nil
}

func (l *Lab) resolve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	for _, name := range names {
		h := l.hosts[name]
		if len(q.Question) != 1 || q.Question[0].Name != name+".lab." {
			continue
		}
		head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
		switch q.Question[0].Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: h.V4.AsSlice()})
		case dns.TypeAAAA:
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: head, AAAA: h.V6.AsSlice()})
		}
	}
	_ = w.WriteMsg(m)
}

// accept serves each connection of a listener in a goroutine of its own until it is closed.
func accept(ln net.Listener, serve func(net.Conn) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				_ = serve(c)
			}()
		}
	}()
	return func() { cancel(); ln.Close() }
}

// drain reads to the end.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
