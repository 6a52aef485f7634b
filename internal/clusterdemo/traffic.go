package clusterdemo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// The lab's ports: what is learned, and what a rule allows later.
const (
	portHTTP  = 8080
	portLater = 9090
)

var families = []string{"ipv4", "ipv6"}

// pace is the time between two connections of one kind.
const pace = 40 * time.Millisecond

// serve answers HTTP on a host.
func serve(h *host, port uint16) (stop func(), err error) {
	l, err := h.listen(port)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	return func() { s.Close(); <-done }, nil
}

// traffic is what the hosts do all the time, and how it went.
type traffic struct {
	api *host
	// breath is held for writing while nothing is to be under way.
	breath sync.RWMutex

	mu       sync.Mutex // guards what follows
	made     int        // connections that were learned, and served
	failures map[string]int
	tried    int // attempts of the intruder
	through  int // those that were not refused
	probe    bool
	gap      time.Duration // the longest time between two connections that were served
	last     time.Time

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startTraffic has every client connect again and again, over both families.
func startTraffic(clients []*host, intruder, api *host) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	t := &traffic{api: api, failures: map[string]int{}, cancel: cancel, last: time.Now()}
	for _, family := range families {
		for _, c := range clients {
			t.wg.Go(func() { t.loop(ctx, func() { t.use(c, family) }) })
		}
		t.wg.Go(func() { t.loop(ctx, func() { t.try(intruder, family) }) })
	}
	return t
}

func (t *traffic) stop() { t.cancel(); t.wg.Wait() }

// loop runs fn again and again; what is under way when it is to end is done to its end.
func (t *traffic) loop(ctx context.Context, fn func()) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.breath.RLock()
			fn()
			t.breath.RUnlock()
		}
	}
}

// use makes one request on a connection of its own.
func (t *traffic) use(c *host, family string) {
	err := get(c, t.api.addr(family, portHTTP))
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failures[fmt.Sprintf("%s to api over %s: %v", c.name, family, err)]++
		return
	}
	t.made++
	t.gap = max(t.gap, time.Since(t.last))
	t.last = time.Now()
}

// get makes one request on a connection of its own.
func get(c *host, address string) error {
	conn, err := c.dial(net.Dialer{Timeout: 3 * time.Second}, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(conn, "GET /hello HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	_, err = io.ReadAll(conn)
	return err
}

// try has the intruder try what was never learned, once everything is protected.
func (t *traffic) try(c *host, family string) {
	t.mu.Lock()
	probe := t.probe
	t.mu.Unlock()
	if !probe {
		return
	}
	err := get(c, t.api.addr(family, portHTTP))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tried++
	if !refused(err) {
		t.through++
	}
}

// refused says whether an attempt ended as one that is denied.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// begin counts from here on, and lets the intruder try. Nothing may be under way.
func (t *traffic) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.probe, t.made, t.gap, t.last = true, 0, 0, time.Now()
}

// longest is the longest time without a served connection since the call before.
func (t *traffic) longest() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := max(t.gap, time.Since(t.last))
	t.gap = 0
	return g
}

// trouble is what failed so far, as an error.
func (t *traffic) trouble() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for text := range t.failures {
		return errors.New(text)
	}
	if t.through > 0 {
		return fmt.Errorf("%d of %d attempts of the intruder were not refused", t.through, t.tried)
	}
	return nil
}
