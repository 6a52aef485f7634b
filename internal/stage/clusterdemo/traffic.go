package clusterdemo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The lab's ports: what is learned, and what a rule allows later.
const (
	portHTTP  = 8080
	portRedis = 6379
	portEcho  = 7007
	portLong  = 6380 // of connections that stay
	portLater = 9090
)

var families = []string{"ipv4", "ipv6"}

// pace is the time between two connections of one kind, patience how long one may take.
const (
	pace     = 40 * time.Millisecond
	patience = 10 * time.Second
)

// use is a way to use the server, on a connection of its own each time.
type use struct {
	port uint16
	do   func(h *host, address string) error
}

var (
	useHTTP = use{portHTTP, func(h *host, address string) error {
		return talk(h, address, "GET /hello HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n")
	}}
	useRedis = use{portRedis, func(h *host, address string) error { return talk(h, address, "*1\r\n$4\r\nPING\r\n") }}
	useEcho  = use{portEcho, echo}
)

// talk sends a request and reads until the server closes.
func talk(h *host, address, text string) error {
	conn, err := h.dial(net.Dialer{Timeout: patience}, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(answer) == 0 {
		err = errors.New("closed without an answer")
	}
	return err
}

// echo has a datagram come back. It is sent again for a while: datagrams may be lost.
func echo(h *host, address string) error {
	// A port that was used before may belong to the same session still.
	local := &net.UDPAddr{Port: 32_768 + int(h.ports.Add(1))%28_000}
	conn, err := h.dial(net.Dialer{LocalAddr: local}, "udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer := make([]byte, 64)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err = conn.Write([]byte("ping over udp")); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err = conn.Read(answer); err == nil || !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
			return err
		}
	}
	return err
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// serve answers on a host as the uses want it.
func serve(h *host) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for _, port := range []uint16{portHTTP, portLater} {
		l, err := h.listen(port)
		if err != nil {
			return stop, err
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }), ReadHeaderTimeout: patience}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(l) }()
		stops = append(stops, func() { s.Close(); <-done })
	}
	for _, port := range []uint16{portRedis, portLong} {
		l, err := h.listen(port)
		if err != nil {
			return stop, err
		}
		go pong(l, port == portLong)
		stops = append(stops, func() { l.Close() })
	}
	p, err := h.packets(portEcho)
	if err != nil {
		return stop, err
	}
	go func() {
		b := make([]byte, 64)
		for {
			n, from, err := p.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = p.WriteTo(b[:n], from)
			}
		}
	}()
	stops = append(stops, func() { p.Close() })
	return stop, nil
}

// pong answers every piece with a PONG, once or as long as the client likes.
func pong(l net.Listener, stay bool) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 64)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				if _, err := io.WriteString(c, "+PONG\r\n"); err != nil || !stay {
					return
				}
			}
		}()
	}
}

// attempt is one try to use the server.
type attempt struct {
	key
	begin, end time.Time
	err        error
}

// key is what attempts are counted by.
type key struct {
	client string
	port   uint16
	family string
}

func (k key) String() string {
	return fmt.Sprintf("%s to api, port %d, %s", k.client, k.port, k.family)
}

// traffic is what the hosts do all the time, and how it went.
type traffic struct {
	api   *host
	probe atomic.Bool // the intruder tries

	mu   sync.Mutex // guards what follows
	done []attempt  // that have ended, the intruder's too
	gap  time.Duration
	last time.Time // when a connection was served last

	ctx    context.Context // ends with the traffic
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startTraffic has every client connect again and again, in every way and over both families.
func startTraffic(clients []*host, intruder, api *host, uses []use) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	t := &traffic{api: api, ctx: ctx, cancel: cancel, last: time.Now()}
	for _, family := range families {
		for _, u := range uses {
			for _, c := range append(slices.Clone(clients), intruder) {
				t.wg.Go(func() { t.loop(c, u, family, c == intruder) })
			}
		}
	}
	return t
}

func (t *traffic) stop() { t.cancel(); t.wg.Wait() }

// loop uses the server again and again; what is under way when it is to end is done to its end.
func (t *traffic) loop(c *host, u use, family string, intruder bool) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
		if intruder && !t.probe.Load() {
			continue
		}
		a := attempt{key: key{c.name, u.port, family}, begin: time.Now()}
		a.err = u.do(c, t.api.addr(family, u.port))
		a.end = time.Now()
		t.mu.Lock()
		t.done = append(t.done, a)
		if !intruder && a.err == nil {
			t.gap = max(t.gap, time.Since(t.last))
			t.last = time.Now()
		}
		t.mu.Unlock()
	}
}

// refused reports whether an attempt ended as a denied one.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// fresh forgets the longest time without a served connection.
func (t *traffic) fresh() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gap, t.last = 0, time.Now()
}

// longest is the longest time without a served connection since the call before.
func (t *traffic) longest() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := max(t.gap, time.Since(t.last))
	t.gap = 0
	return g
}
