package nfqueue

import (
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/conntrack"
	"github.com/sluicenet/sluice/core/backend"
)

// Marked counts the connections of a namespace that have a mark.
func Marked(path string) (n int, err error) {
	t, err := conntrack.Open(path)
	if err != nil {
		return 0, err
	}
	defer t.Close()
	err = t.List(func(e *conntrack.Entry) {
		if e.Mark != 0 {
			n++
		}
	})
	return n, err
}

// SetMark marks a connection as another program would.
func SetMark(path string, k *backend.FlowKey, mark uint32) error {
	t, err := conntrack.Open(path)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.SetMark(&conntrack.Tuple{Src: k.Client, Dst: k.Server, SrcPort: k.ClientPort, DstPort: k.ServerPort, Proto: k.Proto, IPv6: k.IPv6}, mark)
}

// Tracked sums up the counts of a namespace's connection tracker for TCP and UDP.
func Tracked(path string) (packets, bytes uint64, err error) {
	t, err := conntrack.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer t.Close()
	err = t.List(func(e *conntrack.Entry) {
		if e.Tuples[0].Proto == 6 || e.Tuples[0].Proto == 17 {
			packets += e.Packets[0] + e.Packets[1]
			bytes += e.Bytes[0] + e.Bytes[1]
		}
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
		if err := x.io.src.close(); err != nil {
			return waiting, err
		}
		src, err := bind(x.space.file, x.io.src.num, x.space.cfg, true)
		if err != nil {
			return waiting, err
		}
		x.io.src = src
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
	_, err := bind(x.space.file, x.io.src.num, x.space.cfg, true)
	return err
}
