package uplink_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sluicenet/sluice/agent/uplink"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/flow"
)

// strict is a controller: it takes each number of a boot once and in order, and is away now and then.
type strict struct {
	controlv1.UnimplementedCollectorServer
	mu    sync.Mutex
	last  map[string]uint64 // by boot
	ports map[uint32]uint64 // sessions, by the server's port
	away  func() (before, after bool)
	twice int
}

func (c *strict) ReportConnections(_ context.Context, r *controlv1.ReportConnectionsRequest) (*controlv1.ReportConnectionsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, after := c.away()
	if before {
		return nil, errors.New("away")
	}
	if r.Sequence > c.last[r.Run] {
		c.last[r.Run] = r.Sequence
		for _, x := range r.Connections {
			c.ports[x.ServerPort] += x.Sessions
		}
	} else {
		c.twice++
	}
	if after {
		return nil, errors.New("answer lost")
	}
	return &controlv1.ReportConnectionsResponse{Sequence: r.Sequence}, nil
}

// serveStrict answers on a unix socket.
func serveStrict(t *testing.T) (*strict, string) {
	t.Helper()
	c := &strict{last: map[string]uint64{}, ports: map[uint32]uint64{}, away: func() (bool, bool) { return false, false }}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	controlv1.RegisterCollectorServer(s, c)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return c, path
}

// life is what a child process needs to know.
const (
	envSocket = "UPLINK_TEST_SOCKET"
	envSpool  = "UPLINK_TEST_SPOOL"
	envFirst  = "UPLINK_TEST_FIRST"
	envLast   = "UPLINK_TEST_LAST"
)

// TestMain makes this program the child of TestKilled, too: an agent that reports one session after
// the other, each to a port of its own, and prints each on its output.
func TestMain(m *testing.M) {
	if os.Getenv(envSocket) == "" {
		os.Exit(m.Run())
	}
	conn, err := grpc.NewClient("unix:"+os.Getenv(envSocket), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	r := &records{}
	u := uplink.New(uplink.Config{Records: r, Collector: controlv1.NewCollectorClient(conn), Node: "n", Run: os.Getenv(envFirst), Spool: os.Getenv(envSpool),
		Interval: 10 * time.Millisecond, Flush: 20 * time.Second, Workload: func(uint32) string { return "w" }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); u.Run(ctx) }()
	first, _ := strconv.Atoi(os.Getenv(envFirst))
	last, _ := strconv.Atoi(os.Getenv(envLast))
	for n := first; n < last; n++ {
		port := func(f *flow.Record) { f.ServerPort = uint16(n) }
		r.put(record(uint64(n), flow.Start, port), record(uint64(n), flow.End, port))
		fmt.Println(n)
		time.Sleep(500 * time.Microsecond)
	}
	cancel()
	<-done
}

// TestKilled kills agents at any moment while the controllers come and go. What an agent had taken up a
// second before its death is known in the end, once; what was newer is known once or not at all.
func TestKilled(t *testing.T) {
	c, socket := serveStrict(t)
	spool := filepath.Join(t.TempDir(), "unsent")
	rnd := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	theirs := rand.New(rand.NewPCG(2, uint64(os.Getpid()))) // the controllers'
	var until time.Time                                     // the controllers are away
	c.mu.Lock()
	c.away = func() (before, after bool) {
		if theirs.IntN(30) == 0 {
			until = time.Now().Add(time.Duration(theirs.IntN(1500)) * time.Millisecond)
		}
		return time.Now().Before(until), theirs.IntN(5) == 0
	}
	c.mu.Unlock()
	const lives = 4
	var sure []int // sessions that must be known
	next := 1
	for life := range lives {
		last := next + 5000
		if life == lives-1 {
			last = next + 10 // the one that ends by itself, when all is sent
		}
		told, at := live(t, socket, spool, next, last, life == lives-1, time.Duration(500+rnd.IntN(1000))*time.Millisecond)
		for i, n := range told {
			if life == lives-1 || time.Since(at[i])-time.Since(at[len(at)-1]) > time.Second {
				sure = append(sure, n)
			}
			next = n + 1
		}
		next += 10 // may have been reported without having been printed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range sure {
		if c.ports[uint32(n)] != 1 {
			t.Errorf("session %d: known %d times", n, c.ports[uint32(n)])
		}
	}
	for n, times := range c.ports {
		if times > 1 {
			t.Errorf("session %d: known %d times", n, times)
		}
	}
	if len(sure) < 100 || c.twice == 0 {
		t.Errorf("%d sessions that must be known, %d requests that came twice: nothing was provoked", len(sure), c.twice)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("left on disk: %v, %v", left, err)
	}
	t.Logf("%d sessions must be known and are, of %d; %d requests came twice", len(sure), len(c.ports), c.twice)
}

// live runs one child and kills it, or waits for its end; it returns which sessions it reported, and when.
func live(t *testing.T, socket, spool string, first, last int, whole bool, after time.Duration) (told []int, at []time.Time) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envSocket+"="+socket, envSpool+"="+spool, fmt.Sprint(envFirst, "=", first), fmt.Sprint(envLast, "=", last))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !whole {
		defer time.AfterFunc(after+time.Second, func() { _ = cmd.Process.Kill() }).Stop()
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		n, err := strconv.Atoi(s.Text())
		if err != nil {
			break
		}
		told, at = append(told, n), append(at, time.Now())
	}
	if err := cmd.Wait(); whole && err != nil {
		t.Errorf("the last life: %v", err)
	}
	return told, at
}

// TestSpoolNotThere has a folder that cannot be written and files that are not readable: reports go
// their way all the same.
func TestSpoolNotThere(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(t *testing.T, dir string)
	}{
		{"a file is in the way", func(t *testing.T, dir string) { write(t, dir, "x") }},
		{"malformed data", func(t *testing.T, dir string) {
			mkdir(t, dir)
			write(t, filepath.Join(dir, fmt.Sprintf("%016x-%020d-%020d", 3, 1, 9)), "\x05abc")
		}},
		{"half written", func(t *testing.T, dir string) {
			mkdir(t, dir)
			write(t, filepath.Join(dir, fmt.Sprintf("%016x-%020d-%020d.new", 3, 1, 9)), "\xff\xff\xff\xff\xff\xff")
		}},
		{"of another user", func(t *testing.T, dir string) {
			mkdir(t, dir)
			write(t, filepath.Join(dir, "README"), "hello")
		}},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "unsent")
			k.prepare(t, dir)
			c, r := &collector{}, &records{}
			c.fail = func(call int) (bool, bool) { return call < 5, false }
			u := uplink.New(uplink.Config{Records: r, Collector: c.serve(t), Node: "n", Run: "b", Spool: dir, Interval: time.Millisecond, Workload: func(uint32) string { return "w" }})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); u.Run(ctx) }()
			for n := uint64(1); n <= 50; n++ {
				r.put(record(n, flow.Start, nil))
				time.Sleep(time.Millisecond)
			}
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
				if began, _, _ := c.sums(); began == 50 {
					break
				}
				if time.Now().After(end) {
					t.Fatal("not every session arrived")
				}
			}
			cancel()
			<-done
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), "0") {
					t.Errorf("left on disk: %s", e.Name())
				}
			}
		})
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
