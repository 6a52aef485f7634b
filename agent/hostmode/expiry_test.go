package hostmode

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// TestSourcesExpireByMonotonicTime: the owner of a connection's source is known for as long after its end whatever the
// wall clock, by which records are stamped, was set to meanwhile; that of an open one for ever.
func TestSourcesExpireByMonotonicTime(t *testing.T) {
	for name, step := range map[string]time.Duration{"steady": 0, "set back": -time.Hour, "set forward": time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := New(Config{})
			w.spaces[7] = &space{ino: 7}
			k := tuple{space: 7, localPort: 40000, remotePort: 80, proto: packet.ProtoTCP}
			open := k
			open.localPort++
			for _, x := range []*tuple{&k, &open} {
				w.sources.hold(x, "w", nil)
				w.table.conns[*x] = conn{}
			}
			known := func(x *tuple) bool {
				_, ok := w.Peer(&flow.Record{Key: flow.Key{Client: x.local, ClientPort: x.localPort, Proto: x.proto}})
				return ok
			}
			w.endConn(k, conn{}, flow.PhaseClosed, time.Now().Add(step).UnixNano())
			for _, after := range []struct {
				wait time.Duration
				want bool
			}{{heldAfter - time.Second, true}, {2 * time.Second, false}} {
				time.Sleep(after.wait)
				w.sources.deleteExpired(time.Now(), w.spaces)
				if got := known(&k); got != after.want {
					t.Errorf("%s: known %v after another %s, want %v", name, got, after.wait, after.want)
				}
			}
			time.Sleep(time.Hour)
			if w.sources.deleteExpired(time.Now(), w.spaces); !known(&open) {
				t.Errorf("%s: the owner of an open connection is not known any more", name)
			}
		})
	}
}
