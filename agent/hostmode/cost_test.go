package hostmode

import (
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// connection is a watcher and the two events of one connection of a process.
func connection() (*Watcher, *socketsEvent, *socketsEvent) {
	w := New(Config{})
	w.spaces[1] = &space{ino: 1, workloads: map[string]Workload{"": {ID: "host:n", Endpoint: 1}}, listeners: map[listener]uint32{{packet.ProtoTCP, 80}: 1 << 30}}
	w.owners.pids[1<<30] = w.owners.cacheProcess(1<<30, &process{name: "server"})
	begin := &socketsEvent{Netns: 1, Before: synRecv, Now: established, LocalPort: 80, RemotePort: 40000}
	begin.Local[12], begin.Remote[12] = 10, 11
	end := *begin
	end.Before, end.Now = established, closed
	return w, begin, &end
}

// TestEventAllocates holds a connection to the one allocation by which a Go map keeps a large value.
func TestEventAllocates(t *testing.T) {
	w, begin, end := connection()
	drop := func(*flow.Record) {}
	once := func() {
		w.event(begin)
		w.event(end)
		w.Drain(drop)
	}
	once()
	once()
	if n := testing.AllocsPerRun(1000, once); n > 1 {
		t.Errorf("a connection allocates %v times", n)
	}
	if c := w.Counters(); c["hostmode.sessions"] < 1000 || c["hostmode.open"] != 0 {
		t.Errorf("counters %v", c)
	}
}

func BenchmarkConnection(b *testing.B) {
	w, begin, end := connection()
	b.ReportAllocs()
	for b.Loop() {
		w.event(begin)
		w.event(end)
		w.Drain(func(*flow.Record) {})
	}
}
