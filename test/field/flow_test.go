package field

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/internal/netns"
)

// way is from where to where a flow goes, and what it carries.
type way struct {
	from, to string // NODE or NODE/PLACE
	network  string // tcp4, tcp6, udp4 or udp6
	port     int
	app      string // raw, http, redis
	source   int    // port of the client; 0 is any
}

// wayOf reads FROM TO NETWORK PORT APP [SOURCE].
func wayOf(f []string) way {
	f = append(append(make([]string, 0, 6), f...), make([]string, 6)...)
	port, _ := strconv.Atoi(f[3])
	source, _ := strconv.Atoi(f[5])
	return way{f[0], f[1], f[2], port, f[4], source}
}

func (y way) words() []any {
	w := []any{y.from, y.to, y.network, y.port, y.app}
	if y.source != 0 {
		w = append(w, y.source)
	}
	return w
}

func (y way) tcp() bool { return strings.HasPrefix(y.network, "tcp") }

func (y way) String() string { return strings.TrimSpace(fmt.Sprintln(y.words()...)) }

// end is a node and the address of one of its places.
func (w *world) end(name, network string) (*node, netip.Addr) {
	name, place, _ := strings.Cut(name, "/")
	n := w.nodes[name]
	if n == nil {
		return nil, netip.Addr{}
	}
	return n, n.places[place].of(network)
}

// possible reports whether both ends exist.
func (w *world) possible(y way) bool {
	a, from := w.end(y.from, y.network)
	b, to := w.end(y.to, y.network)
	if a == nil || b == nil || a == b || !from.IsValid() || !to.IsValid() {
		return false
	}
	_, place, _ := strings.Cut(y.to, "/")
	peer, only := private(b.name, place)
	return !only || peer == a.name
}

// flow is a connection, or a UDP socket that is connected to a server.
type flow struct {
	way
	c net.Conn
	// refused is valid once policy, or what policy could not see, came to deny it: it may never come back.
	refused bool
	// broken is after an error.
	broken bool
	// doubt is for what the model makes no statement about any more: a fault of the network was in between.
	doubt bool
	// used is after a first exchange, sent is after any payload.
	used, sent bool
	// midstream is after Sluice was started while it was open.
	midstream bool
	// half is after the client closed its half; the server sends until the end.
	half bool
}

var serial atomic.Uint32

// token is unique in this process.
func token() string { return fmt.Sprintf("t%07de", serial.Add(1)%10000000) }

// open connects within a time.
func (w *world) open(y way, limit time.Duration) (*flow, error) {
	n, local := w.end(y.from, y.network)
	_, remote := w.end(y.to, y.network)
	f := &flow{way: y}
	err := netns.Do(netns.Named(n.ns), func() (err error) {
		d := net.Dialer{Timeout: limit, FallbackDelay: -1, KeepAlive: -1, Control: shared}
		at := netip.AddrPortFrom(local, uint16(y.source))
		if d.LocalAddr = net.Addr(net.TCPAddrFromAddrPort(at)); !y.tcp() {
			d.LocalAddr = net.UDPAddrFromAddrPort(at)
		}
		f.c, err = d.Dial(y.network, netip.AddrPortFrom(remote, uint16(y.port)).String())
		return err
	})
	return f, err
}

// errSilence is that an answer did not come in time.
var errSilence = errors.New("no answer")

// listen waits for something that the server of a half-closed flow sends from now on. The token of that is noted as
// received.
func (f *flow) listen(l *ledger, token string, limit time.Duration) error {
	now := []byte(token)
	_ = f.c.SetReadDeadline(time.Now().Add(limit))
	b := make([]byte, 2048)
	for {
		n, err := f.c.Read(b)
		for _, t := range tokens.FindAll(b[:n], -1) {
			if bytes.Compare(t, now) > 0 {
				l.note(now)
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// exchange sends a message and waits for its answer; over UDP it is sent up to five times.
func (f *flow) exchange(token string, limit time.Duration) error {
	end := time.Now().Add(limit)
	again := limit
	if !f.tcp() {
		again = limit / 5
	}
	var got []byte
	b := make([]byte, 2048)
	for next := time.Now(); time.Now().Before(end); {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(again)
			f.sent = true
			_ = f.c.SetWriteDeadline(end)
			if _, err := f.c.Write([]byte(message(f.app, token))); err != nil && f.tcp() {
				return err
			}
		}
		_ = f.c.SetReadDeadline(next)
		n, err := f.c.Read(b)
		got = append(got, b[:n]...)
		if strings.Contains(string(got), token) {
			f.used = true
			return nil
		}
		var timeout net.Error
		if err != nil && f.tcp() && (!errors.As(err, &timeout) || !timeout.Timeout()) {
			return err
		}
		if err != nil && !f.tcp() && (!errors.As(err, &timeout) || !timeout.Timeout()) {
			time.Sleep(time.Until(next)) // an ICMP error: the socket can be used again
		}
	}
	return errSilence
}
