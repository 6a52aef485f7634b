package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// Ports of the traffic under which backends are exchanged.
const (
	portStream   = 7070 // TCP, allowed at any application
	portDatagram = 7071 // UDP, allowed
	portRefused  = 9090 // TCP: nothing allows it
	portSecret   = 9999 // UDP: nothing allows it
)

// traffic runs while backends are exchanged. Each of its parts reports what went wrong.
type traffic struct {
	l      *lab
	ctx    context.Context
	wg     sync.WaitGroup
	rounds map[string]*atomic.Uint64 // what each part has done
	mu     sync.Mutex
	errs   []string
}

func (tr *traffic) failed(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.errs = append(tr.errs, fmt.Sprintf(format, args...))
}

// part runs one kind of traffic over both families.
func (tr *traffic) part(name string, run func(family string, done *atomic.Uint64) error) {
	for _, family := range families {
		key := name + " over " + family
		done := new(atomic.Uint64)
		tr.rounds[key] = done
		tr.wg.Go(func() {
			if err := run(family, done); err != nil {
				tr.failed("%s: %v", key, err)
			}
		})
	}
}

// newTraffic starts everything; end stops it.
func newTraffic(l *lab) (tr *traffic, end func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	tr = &traffic{l: l, ctx: ctx, rounds: map[string]*atomic.Uint64{}}
	for _, family := range families {
		go echo(l.api.Listen(family, l.api.Addr(family, portStream)))
		go echoDatagrams(l.api.ListenPacket(udp(family), l.api.Addr(family, portDatagram)))
	}
	tr.part("a stream", tr.stream)
	tr.part("datagrams", tr.datagrams)
	tr.part("the held connection", tr.held)
	tr.part("refused connections", tr.refused)
	tr.part("refused applications", tr.otherApp)
	tr.part("refused datagrams", tr.secret)
	return tr, func() { cancel(); tr.wg.Wait() }
}

func udp(family string) string { return "udp" + family[len(family)-1:] }

func echoDatagrams(c net.PacketConn) {
	roomy(c)
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(b[:n], from)
	}
}

// roomy gives a socket room for what comes in a burst after its reader or the engine had to wait for a processor.
func roomy(c any) {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) })
		}
	}
}

// patience is how long one answer may take on a machine that does a lot else.
const patience = 20 * time.Second

// stream sends blocks over one connection and compares what comes back.
func (tr *traffic) stream(family string, done *atomic.Uint64) error {
	c, err := tr.l.web.TryDial(family, tr.l.api.Addr(family, portStream), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	block, back := bytes.Repeat([]byte("sixteen bytes..."), 2048), make([]byte, 32<<10)
	for i := uint64(0); tr.ctx.Err() == nil; i++ {
		putNumber(block, i)
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(block); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		if _, err := io.ReadFull(c, back); err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		if !bytes.Equal(block, back) {
			return fmt.Errorf("block %d came back as another", i)
		}
		done.Add(1)
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// datagrams sends numbers and wants each of them back: nothing is sent again here.
func (tr *traffic) datagrams(family string, done *atomic.Uint64) error {
	c, err := tr.l.web.TryDial(udp(family), tr.l.api.Addr(family, portDatagram), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	roomy(c)
	missing := map[uint64]bool{}
	var mu sync.Mutex
	got := make(chan struct{})
	go func() {
		defer close(got)
		b := make([]byte, 2048)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			delete(missing, number(b[:n]))
			mu.Unlock()
			done.Add(1)
		}
	}()
	b := make([]byte, 200)
	left := func() int { mu.Lock(); defer mu.Unlock(); return len(missing) }
	for i := uint64(0); tr.ctx.Err() == nil; i++ {
		putNumber(b, i)
		mu.Lock()
		missing[i] = true
		mu.Unlock()
		if _, err := c.Write(b); err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
	for end := time.Now().Add(patience); left() > 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	c.Close()
	<-got
	if n := left(); n > 0 {
		return fmt.Errorf("%d were lost: %v", n, slices.Sorted(maps.Keys(missing)))
	}
	return nil
}

// held makes a request now and then on the connection from before.
func (tr *traffic) held(family string, done *atomic.Uint64) error {
	for tr.ctx.Err() == nil {
		if err := request(tr.l.long[family]); err != nil {
			return err
		}
		done.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// refused tries what nothing allows all the time.
func (tr *traffic) refused(family string, done *atomic.Uint64) error {
	for tr.ctx.Err() == nil {
		c, err := tr.l.web.TryDial(family, tr.l.api.Addr(family, portRefused), patience)
		if err == nil {
			c.Close()
			return errors.New("a connection came about")
		}
		done.Add(1)
		time.Sleep(time.Millisecond)
	}
	return nil
}

// otherApp speaks SSH where HTTP alone is allowed: the server, which would answer, must not see it.
func (tr *traffic) otherApp(family string, done *atomic.Uint64) error {
	for tr.ctx.Err() == nil {
		c, err := tr.l.web.TryDial(family, tr.l.api.Addr(family, 8080), patience)
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n\r\n")
		var answer []byte
		if err == nil {
			answer, err = io.ReadAll(c)
		}
		c.Close()
		if err == nil || len(answer) > 0 {
			return fmt.Errorf("the server answered %q", answer)
		}
		done.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// secret sends datagrams that nothing allows.
func (tr *traffic) secret(family string, done *atomic.Uint64) error {
	c, err := tr.l.web.TryDial(udp(family), tr.l.api.Addr(family, portSecret), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	for tr.ctx.Err() == nil {
		_, _ = c.Write([]byte("secret")) // the next one returns an ICMP error, if one came
		done.Add(1)
		time.Sleep(time.Millisecond)
	}
	return nil
}

// continues waits until every part has done something more, and shows what failed.
func (tr *traffic) continues(when string) {
	tr.l.t.Helper()
	before := map[string]uint64{}
	for name, n := range tr.rounds {
		before[name] = n.Load()
	}
	until(tr.l.t, patience, when+": all traffic continues", func() error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if len(tr.errs) > 0 {
			tr.l.t.Fatalf("%s: %s", when, strings.Join(tr.errs, "; "))
		}
		for name, n := range tr.rounds {
			if n.Load() < before[name]+3 {
				return fmt.Errorf("%s: %d rounds more", name, n.Load()-before[name])
			}
		}
		return nil
	})
}

// count has packets that must not arrive counted where they would.
func count(t *testing.T, w *testnet.Workload) (arrived func() string) {
	t.Helper()
	rules := fmt.Sprintf(`table inet watch {
	chain in {
		type filter hook prerouting priority -300
		tcp dport %d counter comment "refused connections"
		udp dport %d counter comment "refused datagrams"
	}
}
`, portRefused, portSecret)
	cmd := w.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("count packets: %v: %s", err, out)
	}
	return func() string {
		out, err := w.Command("nft", "list", "table", "inet", "watch").CombinedOutput()
		if err != nil {
			t.Fatalf("read counters: %v: %s", err, out)
		}
		var bad []string
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "counter") && !strings.Contains(line, "packets 0 ") {
				bad = append(bad, strings.TrimSpace(line))
			}
		}
		return strings.Join(bad, "; ")
	}
}

// putNumber and number write and read the number that a packet begins with.
func putNumber(b []byte, n uint64) { copy(b, fmt.Sprintf("%016x", n)) }

func number(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(b[:min(16, len(b))]), 16, 64)
	return n
}
