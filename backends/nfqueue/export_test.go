package nfqueue

import (
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

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

// Rebind closes a kernel queue, whose rules stay as those of a killed process do, and binds it n times
// again. It returns how often packets were waiting when bind returned.
func Rebind(q backend.Queue, n int) (waiting int, err error) {
	x := q.(*queue)
	for range n {
		if err := x.src.close(); err != nil {
			return waiting, err
		}
		src, err := bind(x.space.file, x.src.num, x.space.cfg, true)
		if err != nil {
			return waiting, err
		}
		x.src = src
		_ = src.conn.Control(func(fd uintptr) {
			if _, _, err := unix.Recvfrom(int(fd), make([]byte, nlHeader), unix.MSG_PEEK|unix.MSG_DONTWAIT); err == nil {
				waiting++
			}
		})
	}
	return waiting, nil
}

// BindTaken binds the queue number of a queue, which has it.
func BindTaken(q backend.Queue) error {
	x := q.(*queue)
	_, err := bind(x.space.file, x.src.num, x.space.cfg, true)
	return err
}
