package host_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/plugins/host"
)

// cpu is what a process has used, in user and system mode.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// BenchmarkConnections opens connections that are held until their application is known and allowed: a handshake,
// a request and a reset, some at a time. In process and through a plugin, in one run.
func BenchmarkConnections(b *testing.B) {
	for _, wave := range []int{1, 16, 128} {
		for _, name := range []string{"inprocess", "plugin"} {
			b.Run(fmt.Sprintf("%d/%s", wave, name), func(b *testing.B) { connections(b, name, wave) })
		}
	}
}

func connections(b *testing.B, name string, wave int) {
	var h *host.Host
	if name == "plugin" {
		h = start(b, host.Config{Plugins: roles("standard")})
	}
	bed := newBed(b, h, allow(app.HTTP))
	var before [2]time.Duration
	before[0] = cpu(b, os.Getpid())
	if h != nil {
		before[1] = cpu(b, h.Status()[0].PID)
	}
	named, total := 0, 0
	tell := func(f *flow.Record) {
		if f.Kind == flow.End && app.ID(f.App) == app.HTTP {
			named++
		}
	}
	for b.Loop() {
		var frames []packet.Frame
		var conns []*conn
		for range wave {
			c := newConn(total%2 == 0, uint16(10000+total%50000))
			c.peer = byte(total / 50000) // another server where the port comes again
			total++
			frames = append(append(frames, c.open()...), c.frame(0, packet.ACK|packet.PSH, request))
			conns = append(conns, c)
		}
		bed.q.give(frames...)
		bed.q.await(wave) // until all requests passed
		bed.q.clear()
		frames = frames[:0]
		for _, c := range conns {
			frames = append(frames, c.frame(0, packet.ACK|packet.RST, ""))
		}
		bed.q.give(frames...)
		bed.q.clear()
		bed.e.Drain(tell)
	}
	elapsed := b.Elapsed()
	bed.e.Close()
	bed.e.Drain(tell)
	if named < total {
		b.Fatalf("%d connections were named, want %d", named, total)
	}
	b.ReportMetric(float64(total)/elapsed.Seconds(), "connections/s")
	used := cpu(b, os.Getpid()) - before[0]
	b.ReportMetric(float64(used.Microseconds())/float64(total), "us-cpu/connection")
	if h != nil {
		b.ReportMetric(float64((cpu(b, h.Status()[0].PID)-before[1]).Microseconds())/float64(total), "us-plugin-cpu/connection")
		b.ReportMetric(float64(count(h, "items"))/elapsed.Seconds(), "items/s")
		b.ReportMetric(float64(count(h, "latency_us_sum"))/float64(max(count(h, "answers"), 1)), "us/answer")
	}
}
