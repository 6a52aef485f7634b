package field

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// ports are those of every server, for TCP and UDP: 50051 is above the first port that Linux gives clients.
var ports = []int{8080, 9000, 50051}

// ledger has what the servers' applications received.
type ledger struct {
	mu  sync.Mutex
	got map[string]int // by token
}

var tokens = regexp.MustCompile(`t[0-9]{7}e`)

// note records the tokens in what was received.
func (l *ledger) note(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tokens.FindAll(b, -1) {
		l.got[string(t)]++
	}
}

// has reports whether a token was received.
func (l *ledger) has(token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got[token] > 0
}

// serve starts the servers of a node, on any address of it.
func (w *world) serve(n *node) error {
	return netns.Do(netns.Named(n.ns), func() error {
		for _, port := range ports {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			n.servers = append(n.servers, l)
			go testnet.ServeEach(l, func(c net.Conn) { _ = w.converse(c) })
			p, err := (&net.ListenConfig{Control: shared}).ListenPacket(context.Background(), "udp", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			c := p.(*net.UDPConn)
			n.servers = append(n.servers, c)
			if err := packetInfo(c); err != nil {
				return err
			}
			go w.datagrams(c)
		}
		return nil
	})
}

// shared lets a client have the port of a server of its own node.
func shared(_, _ string, raw syscall.RawConn) error {
	var err error
	if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }); cerr != nil {
		return cerr
	}
	return err
}

// packetInfo has the destination of each datagram reported, so that answers have it as their source.
func packetInfo(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

func (w *world) datagrams(c *net.UDPConn) {
	b, oob := make([]byte, 2048), make([]byte, 256)
	for {
		n, o, _, from, err := c.ReadMsgUDP(b, oob)
		if err != nil {
			return
		}
		w.seen.note(b[:n])
		_, _, _ = c.WriteMsgUDP(b[:n], answerFrom(oob[:o]), from)
	}
}

// answerFrom makes the control message for an answer: its source is the question's destination, and the route decides
// about the interface.
func answerFrom(oob []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO:
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])})
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO:
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[8:12])})
		}
	}
	return nil
}

// converse answers HTTP, redis and lines of bytes of no protocol, on the same port.
func (w *world) converse(c net.Conn) error {
	r := bufio.NewReader(c)
	for {
		first, err := r.Peek(1)
		if errors.Is(err, io.EOF) {
			return feed(c)
		}
		if err != nil {
			return err
		}
		lines, end := 1, ""
		switch first[0] {
		case 'G':
			lines, end = 100, "\r\n"
		case '*':
			lines = 5
		}
		var message []byte
		for range lines {
			l, err := r.ReadBytes('\n')
			w.seen.note(l)
			if err != nil {
				return err
			}
			if message = append(message, l...); string(l) == end {
				break
			}
		}
		answer := string(message)
		switch token := tokens.FindString(answer); first[0] {
		case 'G':
			answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(token), token)
		case '*':
			answer = fmt.Sprintf("$%d\r\n%s\r\n", len(token), token)
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return err
		}
	}
}

// feed sends tokens to a client that has closed its half, until it is gone.
func feed(c net.Conn) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, err := io.WriteString(c, token()+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// message is what a client of an application sends with a token.
func message(app, token string) string {
	switch app {
	case "http":
		return "GET /" + token + " HTTP/1.1\r\nHost: field.test\r\nUser-Agent: field\r\n\r\n"
	case "redis":
		return fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len(token), token)
	}
	return "\x01\x02\x03field " + token + strings.Repeat(".", 9) + "\n"
}
