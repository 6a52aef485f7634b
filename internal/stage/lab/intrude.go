package lab

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// Attempt is a connection that was not made before.
type Attempt struct {
	From, To string
	Proto    string
	Port     int
	Family   string
	// Says is the first data sent, if the connection opens.
	Says string
	// What describes it.
	What string
}

// Outcome is how an attempt ended.
type Outcome string

// Outcomes.
const (
	Open    Outcome = "open"    // it got an answer
	ResetBy Outcome = "reset"   // refused by a reset or an ICMP error
	Timeout Outcome = "timeout" // silence
)

// Attempts are what the intruder tries, and what web has never done.
func (l *Lab) Attempts() []Attempt {
	var out []Attempt
	add := func(from, to, proto string, port int, says, what string) {
		for _, family := range []string{"ipv4", "ipv6"} {
			out = append(out, Attempt{from, to, proto, port, family, says, what})
		}
	}
	add("intruder", "db", "tcp", portDB, "\x00\x00\x00\x08\x04\xd2\x16\x2f", "the intruder wants the database")
	add("intruder", "cache", "tcp", portRedis, "*1\r\n$4\r\nPING\r\n", "the intruder wants the cache")
	add("intruder", "dns", "udp", portDNS, "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03api\x03lab\x00\x00\x01\x00\x01", "the intruder asks for names")
	add("web", "db", "tcp", portDB, "\x00\x00\x00\x08\x04\xd2\x16\x2f", "web goes straight to the database")
	add("web", "cache", "udp", portRedis, "stats\n", "web tries a datagram")
	add("web", "api", "tcp", portHTTP, "*1\r\n$4\r\nPING\r\n", "web speaks redis on an open http port")
	add("cart", "db", "tcp", portDB, "\x00\x00\x00\x08\x04\xd2\x16\x2f", "cart sends its sidecar to the database")
	add("cart", "pay", "tcp", portHTTP, "*1\r\n$4\r\nPING\r\n", "cart hides redis in the mesh's encryption")
	add("intruder", "pay", "tcp", portHTTP, "GET / HTTP/1.0\r\n\r\n", "the intruder calls a meshed service")
	return out
}

// Try makes an attempt and returns its outcome and duration.
func (l *Lab) Try(ctx context.Context, a Attempt) (Outcome, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	suffix := "4"
	if a.Family == "ipv6" {
		suffix = "6"
	}
	begin := time.Now()
	err := l.exchange(ctx, a, a.Proto+suffix)
	took := time.Since(begin)
	var ne net.Error
	switch {
	case err == nil:
		return Open, took, nil
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.EACCES):
		return ResetBy, took, nil
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return Timeout, took, nil
	}
	return "", took, err
}

func (l *Lab) exchange(ctx context.Context, a Attempt, network string) error {
	c, err := l.hosts[a.From].Dial(ctx, network, l.hosts[a.To].Addr(network, a.Port))
	if err != nil {
		return err
	}
	defer c.Close()
	if a.Proto == "udp" {
		_ = c.SetDeadline(time.Now().Add(500 * time.Millisecond))
	} else {
		deadline(ctx, c)
	}
	if _, err := c.Write([]byte(a.Says)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 512))
	return err
}
