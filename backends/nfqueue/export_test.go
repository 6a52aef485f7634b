package nfqueue

import "github.com/sluicenet/sluice/core/backend"

// Marked counts the connections of a namespace that have a mark.
func Marked(path string) (n int, err error) {
	t, err := openTracker(path)
	if err != nil {
		return 0, err
	}
	defer t.close()
	t.seq++
	t.ask.begin(typeGetEntry, nlDump, 0, t.seq)
	var e entry
	return n, t.do(func(kind uint16, b []byte) bool {
		if kind == typeEntry && e.parse(b) && e.mark != 0 {
			n++
		}
		return false
	})
}

// SetMark marks a connection as another program would.
func SetMark(path string, k *backend.FlowKey, mark uint32) error {
	t, err := openTracker(path)
	if err != nil {
		return err
	}
	defer t.close()
	return t.setMark(&tuple{src: k.Client, dst: k.Server, sport: k.ClientPort, dport: k.ServerPort, proto: k.Proto, v6: k.IPv6}, mark)
}

// Tracked sums up the counts of a namespace's connection tracker for TCP and UDP.
func Tracked(path string) (packets, bytes uint64, err error) {
	t, err := openTracker(path)
	if err != nil {
		return 0, 0, err
	}
	defer t.close()
	t.seq++
	t.ask.begin(typeGetEntry, nlDump, 0, t.seq)
	var e entry
	err = t.do(func(kind uint16, b []byte) bool {
		if kind == typeEntry && e.parse(b) && (e.tuples[0].proto == 6 || e.tuples[0].proto == 17) {
			packets += e.packets[0] + e.packets[1]
			bytes += e.bytes[0] + e.bytes[1]
		}
		return false
	})
	return packets, bytes, err
}

// SweepUsed is Sweep for rules of this process, as if it was killed.
func SweepUsed(path string) error { return sweep(path, true) }
