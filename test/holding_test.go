package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// sink is a server that records what each connection delivered, and how it ended.
type sink struct {
	mu   sync.Mutex
	got  []byte
	ends map[string]error // by the client's address; nil for the end of the stream
}

func (s *sink) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go s.read(c)
	}
}

// read records a connection, and answers a request of HTTP.
func (s *sink) read(c net.Conn) {
	defer c.Close()
	var all []byte
	for b := make([]byte, 4096); ; {
		n, err := c.Read(b)
		all = append(all, b[:n]...)
		s.mu.Lock()
		s.got = append(s.got, b[:n]...)
		if err != nil {
			s.ends[c.RemoteAddr().String()] = err
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
		if bytes.HasSuffix(all, []byte("\r\n\r\n")) && bytes.Contains(all, []byte(" HTTP/1.1\r\n")) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}
}

func (s *sink) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Contains(s.got, []byte(text))
}

// ended waits for a connection's end.
func (s *sink) ended(client string, limit time.Duration) (err error, ok bool) {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		err, ok = s.ends[client]
		s.mu.Unlock()
		if ok {
			return err, true
		}
	}
	return nil, false
}

// pieces are what a client sends: text, and pauses between.
type pieces []any

// evil marks what no rule allows; it is replaced by a text of its own in each attempt.
const evil = "EVIL"

// attempts are ways to have bytes of another application delivered where only HTTP is allowed.
var attempts = map[string]pieces{
	"at once":                        {"SET key " + evil + "\r\n"},
	"one letter, a pause":            {"P", 700 * time.Millisecond, "ING " + evil + "\r\n"},
	"a short pause":                  {"SE", 300 * time.Millisecond, "T key " + evil + "\r\n"},
	"a method, a pause":              {"GET ", 700 * time.Millisecond, evil + "\r\n"},
	"two pauses":                     {"PO", 250 * time.Millisecond, "ST", 250 * time.Millisecond, " " + evil + "\r\n\r\n"},
	"beyond the hold time":           {"P", 1300 * time.Millisecond, "ING " + evil + "\r\n"},
	"a request line that never ends": {"GET /", 400 * time.Millisecond, "aaaa", 400 * time.Millisecond, "aaaa", 400 * time.Millisecond, "\r\n" + evil + "\r\n"},
}

// send sends the pieces, and waits for what the peer or its kernel makes of them.
func (p pieces) send(c net.Conn, mark string) (answer []byte, err error) {
	for _, x := range p {
		switch x := x.(type) {
		case time.Duration:
			time.Sleep(x)
		case string:
			if _, err := io.WriteString(c, strings.ReplaceAll(x, evil, mark)); err != nil {
				return nil, err
			}
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 4096)
	n, err := c.Read(b)
	return b[:n], err
}

// TestHeldInRealTime: where only HTTP is allowed, no pause and no cut has bytes of another application
// delivered, with the parsers in a plugin and in process, with both ends or one of them protected; both
// ends are reset; HTTP with the same pauses is answered.
func TestHeldInRealTime(t *testing.T) {
	for _, place := range []string{"plugin", "inprocess"} {
		t.Run(place, func(t *testing.T) {
			l := newLab(t)
			l.args = append(l.args, "--mode", "protect", "--parsers", place)
			s := &sink{ends: map[string]error{}}
			for _, family := range families {
				go s.serve(l.api.Listen(family, l.api.Addr(family, 7000)))
			}
			l.start()
			until(t, 10*time.Second, "both ends are enforced", func() error { return l.enforced("inline", 2) })
			l.run("hold", "--time", "1s")
			l.run("rules", "add", "--from", "web", "--to", "api", "--ports", "tcp/7000", "--apps", "http")
			for i, ends := range []string{"both", "server", "client"} {
				l.run("mode", "set", "all", "protect")
				switch ends {
				case "server":
					l.run("mode", "set", "web", "monitor")
				case "client":
					l.run("mode", "set", "api", "monitor")
				}
				var wg sync.WaitGroup
				for name, p := range attempts {
					for _, family := range families {
						c := l.web.Dial(family, l.api.Addr(family, 7000))
						wg.Go(func() { s.refuses(t, c, fmt.Sprintf("%s, %s, %s", name, ends, family), p, fmt.Sprintf("EVIL-%d-%s-%s", i, name, family)) })
					}
				}
				for _, family := range families {
					wg.Go(func() { s.answers(t, l.web, family, l.api.Addr(family, 7000)) })
				}
				wg.Wait()
			}
		})
	}
}

// refuses makes one attempt on a connection.
func (s *sink) refuses(t *testing.T, c net.Conn, name string, p pieces, mark string) {
	defer c.Close()
	answer, err := p.send(c, mark)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the client got %q, %v, want a reset", name, answer, err)
	}
	if err, ok := s.ended(c.LocalAddr().String(), 2*time.Second); !ok || errors.Is(err, io.EOF) {
		t.Errorf("%s: the server's end is %v (ended: %t), want a reset", name, err, ok)
	}
	if s.has(mark) {
		t.Errorf("%s: delivered", name)
	}
}

// answers sends HTTP in pieces: its first line within the time after which a kernel repeats what is not
// acknowledged (200 ms), and the rest after a pause.
func (s *sink) answers(t *testing.T, from *testnet.Workload, family, addr string) {
	c := from.Dial(family, addr)
	defer c.Close()
	request := pieces{"G", 30 * time.Millisecond, "ET / HT", 30 * time.Millisecond, "TP/1.1\r\n", 700 * time.Millisecond, "Host: x\r\n\r\n"}
	if answer, err := request.send(c, ""); !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("HTTP with pauses, %s: %q, %v, want an answer", family, answer, err)
	}
}
