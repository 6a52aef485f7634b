package test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// talk is a conversation of web with api that outlives Sluice: its ports, and how it is held.
type talk struct {
	network        string // tcp4 to udp6
	client, server int
	busy           bool // it never stops; otherwise it is silent until it is poked
	connected      bool // UDP: the client's socket is connected
	late           bool // silent: api speaks first after a restart, with an answer that is due since before
	asked          atomic.Int64
}

func (k *talk) String() string {
	held := map[bool]string{true: "busy", false: "silent"}[k.busy]
	if k.late {
		held = "answered late"
	}
	if strings.HasPrefix(k.network, "udp") && !k.connected {
		held += ", not connected"
	}
	return fmt.Sprintf("%s %d to %d, %s", k.network, k.client, k.server, held)
}

// tcpTalks have the server's port below and above the client's, of every kind, and the same.
func tcpTalks() (out []*talk) {
	for i, ports := range [][2]int{{40000, 8081}, {40000, 50051}, {55000, 50051}, {20000, 50051}, {9000, 9901}, {9000, 8901}, {33000, 33001}} {
		for n := range 3 {
			out = append(out, &talk{client: ports[0] + 100*i + n, server: ports[1], busy: n == 0, late: n == 2})
		}
	}
	for n := range 3 { // a pair of equal ports has one connection
		out = append(out, &talk{client: 6000 + n, server: 6000 + n, busy: n == 0, late: n == 2})
	}
	return bothFamilies("tcp", out)
}

func udpTalks() (out []*talk) {
	for n := range 6 {
		connected, busy, late := n%2 == 0, n < 2, n >= 4
		for i, ports := range [][2]int{{40000, 5353}, {41000, 50053}, {20000, 50053}, {9200, 9301}} {
			out = append(out, &talk{client: ports[0] + 100*i + n, server: ports[1], busy: busy, late: late, connected: connected})
		}
		for _, base := range []int{5000, 51820} {
			out = append(out, &talk{client: base + n, server: base + n, busy: busy, late: late, connected: connected})
		}
	}
	return bothFamilies("udp", out)
}

func bothFamilies(network string, talks []*talk) (out []*talk) {
	for _, k := range talks {
		for _, version := range []string{"4", "6"} {
			out = append(out, &talk{network: network + version, client: k.client, server: k.server, busy: k.busy, connected: k.connected, late: k.late})
		}
	}
	return out
}

// company is all conversations of a test, and what went wrong in them.
type company struct {
	l     *lab
	talks []*talk
	gate  atomic.Pointer[chan struct{}] // answers that are late wait for it
	stop  chan struct{}
	wg    sync.WaitGroup

	mu     sync.Mutex
	broken map[string]string // guarded by mu
}

const (
	patientTCP = 20 * time.Second
	againUDP   = 500 * time.Millisecond // a datagram may be lost while Sluice is killed
	triesUDP   = 20
)

// meet opens all conversations and has each say enough for its application to be given up.
func meet(l *lab, talks []*talk) *company {
	l.t.Helper()
	co := &company{l: l, talks: talks, stop: make(chan struct{}), broken: map[string]string{}}
	co.shut()
	served := map[string]bool{}
	for _, k := range talks {
		if key := fmt.Sprint(k.network, k.server); !served[key] {
			served[key] = true
			co.serve(k)
		}
	}
	for _, k := range talks {
		conn, err := k.open(l)
		if err != nil {
			l.t.Fatalf("%s: %v", k, err)
		}
		for range 20 {
			if err := k.echo(conn, "hello"); err != nil {
				l.t.Fatalf("%s, in the beginning: %v", k, err)
			}
		}
		co.wg.Go(func() { co.hold(k, conn) })
		l.t.Cleanup(func() { conn.Close() })
	}
	l.t.Cleanup(co.stopAll)
	return co
}

func (co *company) stopAll() {
	select {
	case <-co.stop:
	default:
		close(co.stop)
	}
	co.open()
	co.wg.Wait()
}

// shut keeps late answers back from now on, open lets them go.
func (co *company) shut() {
	c := make(chan struct{})
	co.gate.Store(&c)
}

func (co *company) open() {
	defer func() { _ = recover() }() // it is open already
	close(*co.gate.Load())
}

// hold keeps one conversation up: it never stops, or it says something when the gate opens.
func (co *company) hold(k *talk, conn net.Conn) {
	for n := 0; ; n++ {
		gate := *co.gate.Load()
		text := fmt.Sprintf("hello %08d", n)
		switch {
		case k.busy:
			select {
			case <-co.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		case k.late:
			text = fmt.Sprintf("later %08d", n)
		default:
			select {
			case <-co.stop:
				return
			case <-gate:
			}
		}
		if err := k.echo(conn, text); err != nil {
			select {
			case <-co.stop:
			default:
				co.mu.Lock()
				co.broken[k.String()] = err.Error()
				co.mu.Unlock()
			}
			return
		}
		k.asked.Add(1)
		if !k.busy { // until the gate is shut again
			for gate == *co.gate.Load() {
				select {
				case <-co.stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	}
}

// unconnected is a UDP client whose socket is not connected.
type unconnected struct {
	*net.UDPConn
	to *net.UDPAddr
}

func (c *unconnected) Write(b []byte) (int, error) { return c.WriteTo(b, c.to) }

// open opens a conversation from its port.
func (k *talk) open(l *lab) (c net.Conn, err error) {
	if strings.HasPrefix(k.network, "tcp") {
		return fromPort(l.web, k.network, l.api.Addr(k.network, k.server), k.client)
	}
	local, remote := udpAddr(l.web, k.network, k.client), udpAddr(l.api, k.network, k.server)
	err = netns.Do(l.web.Path, func() error {
		if k.connected {
			c, err = net.DialUDP(k.network, local, remote)
			return err
		}
		u, err := net.ListenUDP(k.network, &net.UDPAddr{Port: k.client})
		c = &unconnected{u, remote}
		return err
	})
	return c, err
}

func udpAddr(w *testnet.Workload, network string, port int) *net.UDPAddr {
	if strings.HasSuffix(network, "6") {
		return &net.UDPAddr{IP: w.IPv6.AsSlice(), Port: port}
	}
	return &net.UDPAddr{IP: w.IPv4.AsSlice(), Port: port}
}

// echo sends a text and waits until it comes back. A datagram is sent again, as applications do.
func (k *talk) echo(c net.Conn, text string) error {
	b := make([]byte, 512)
	if strings.HasPrefix(k.network, "tcp") {
		_ = c.SetDeadline(time.Now().Add(patientTCP))
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		_, err := io.ReadFull(c, b[:len(text)])
		if err == nil && string(b[:len(text)]) != text {
			err = fmt.Errorf("got %q, want %q", b[:len(text)], text)
		}
		return err
	}
	var err error
	for try := 0; try < triesUDP; try++ {
		if try == 0 || !k.late { // who waits for a late answer does not ask again
			if _, err = io.WriteString(c, text); err != nil {
				return err // an ICMP error: it was refused
			}
		}
		end := time.Now().Add(againUDP)
		if k.late {
			end = time.Now().Add(patientTCP)
		}
		for {
			_ = c.SetReadDeadline(end)
			var n int
			if n, err = c.Read(b); err != nil {
				break
			}
			if string(b[:n]) == text {
				return nil // all others are answers that came late
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if k.late {
			break
		}
	}
	return fmt.Errorf("no answer to %d datagrams: %w", triesUDP, err)
}

// serve has api echo on a conversation's port. What begins with "later" waits for the gate.
func (co *company) serve(k *talk) {
	l := co.l
	wait := func(text []byte) {
		if strings.HasPrefix(string(text), "later") {
			<-*co.gate.Load()
		}
	}
	if strings.HasPrefix(k.network, "udp") {
		pc := l.api.ListenPacket(k.network, fmt.Sprintf(":%d", k.server))
		go func() {
			b := make([]byte, 512)
			for {
				n, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				text := slices.Clone(b[:n])
				go func() { wait(text); _, _ = pc.WriteTo(text, from) }()
			}
		}()
		return
	}
	listener := l.api.Listen(k.network, l.api.Addr(k.network, k.server))
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 512)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					wait(b[:n])
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// continues checks that after a restart every conversation continues, also those that were silent meanwhile.
func (co *company) continues(when string) {
	co.l.t.Helper()
	before := map[*talk]int64{}
	for _, k := range co.talks {
		before[k] = k.asked.Load()
	}
	co.open()
	time.Sleep(2 * time.Second) // busy ones continue meanwhile
	until(co.l.t, patientTCP, when+": all conversations continue", func() error {
		co.mu.Lock()
		defer co.mu.Unlock()
		for _, k := range co.talks {
			if co.broken[k.String()] == "" && k.asked.Load() == before[k] {
				return fmt.Errorf("%s: no answer", k)
			}
		}
		return nil
	})
	co.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(co.broken)) {
		co.l.t.Errorf("%s: %s: broken: %s", when, name, co.broken[name])
	}
	clear(co.broken)
	co.mu.Unlock()
	if vs := read[[]violation](co.l.program, "violations"); len(vs) > 0 {
		co.l.t.Errorf("%s: violations %+v, want none", when, vs)
	}
	co.shut()
	time.Sleep(300 * time.Millisecond) // late ones ask again
}
