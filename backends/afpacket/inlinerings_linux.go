package afpacket

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// sendBuffer is the kernel's buffer for large frames being sent.
const sendBuffer = 8 << 20

// mapped is the map that openInline maps.
type mapped interface{ FD() int }

// openInline creates the queue of a service port whose engine's end is index; it runs in the
// port's namespace. control is the map of the heartbeat.
func openInline(index int, control mapped, cfg Config) (_ *inline, err error) {
	q := &inline{event: -1, spins: runtime.NumCPU() > 1, drained: make(chan struct{})}
	q.pulse.clock = newMonotonic()
	q.index.Store(int64(index))
	q.small.fd, q.large.fd, q.jumbo.fd, q.wrapped.fd = -1, -1, -1, -1
	q.scratch, q.parts = make([]byte, vnetLen+maxFrame), [2][]byte{make([]byte, vnetLen+maxFrame), make([]byte, maxFrame)}
	q.endpoints.current.Store(&map[uint32]known{})
	q.gate.release = q.free
	defer func() {
		if err != nil {
			q.free()
		}
	}()
	if q.event, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	q.small.slots = slotsFor(0, cfg.RxSmall, smallSlot)
	q.tx = slotsFor(q.small.slots.bytes(), cfg.TxSlots, smallSlot)
	q.large.slots = slotsFor(0, cfg.RxLarge, largeSlot)
	if err = q.small.open(q.tx, 0, smallFrame); err != nil {
		return nil, err
	}
	if err = q.large.open(slots{}, smallFrame, 1<<20); err != nil {
		return nil, err
	}
	if err = unix.SetsockoptInt(q.large.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer); err != nil {
		return nil, fmt.Errorf("set send buffer: %w", err)
	}
	if err = q.openJumbo(); err != nil {
		return nil, err
	}
	if err = q.wrapped.open(index); err != nil {
		return nil, err
	}
	if err = q.bind(control, cfg); err != nil {
		return nil, err
	}
	return q, nil
}

// bind maps the heartbeat and enables reception on the sockets.
func (q *inline) bind(control mapped, cfg Config) (err error) {
	if err = q.pulse.open(control, cfg, q.small.slots.n); err != nil {
		return fmt.Errorf("map heartbeat: %w", err)
	}
	for _, fd := range []int{q.small.fd, q.large.fd, q.jumbo.fd} {
		if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: int(q.index.Load())}); err != nil {
			return fmt.Errorf("bind to service port: %w", err)
		}
	}
	return nil
}

// open opens the socket and creates its rings, of which tx, or both, may have no slots. It receives
// nothing before it is bound, and then frames longer than over and not longer than most.
func (r *receiver) open(tx slots, over, most uint32) (err error) {
	if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	for _, o := range []struct {
		name       string
		opt, value int
	}{
		{"PACKET_VERSION", unix.PACKET_VERSION, unix.TPACKET_V2},
		{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR, 1},
		{"PACKET_QDISC_BYPASS", unix.PACKET_QDISC_BYPASS, 1},
		{"PACKET_IGNORE_OUTGOING", unix.PACKET_IGNORE_OUTGOING, 1},
		{"PACKET_LOSS", unix.PACKET_LOSS, 1},
	} {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, o.opt, o.value); err != nil {
			return fmt.Errorf("%w: %s: %w", backend.ErrUnsupported, o.name, err)
		}
	}
	if err := takeFrames(r.fd, over, most); err != nil || r.slots.n == 0 {
		return err
	}
	return r.makeRings(tx)
}

// makeRings creates the receive ring and, where tx has slots, a TX ring behind it, and maps
// them. A socket with a TX ring sends only from there.
func (r *receiver) makeRings(tx slots) error {
	for _, x := range []struct {
		opt int
		s   slots
	}{{unix.PACKET_RX_RING, r.slots}, {unix.PACKET_TX_RING, tx}} {
		if x.s.n == 0 {
			continue
		}
		req := unix.TpacketReq{Block_size: slotBlock, Block_nr: uint32(x.s.blocks()), Frame_size: uint32(x.s.size), Frame_nr: uint32(x.s.n)}
		if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, x.opt, &req); err != nil {
			return fmt.Errorf("make ring of %d slots: %w", x.s.n, err)
		}
	}
	size := r.slots.bytes()
	if tx.n > 0 {
		size += tx.bytes()
	}
	mem, err := unix.Mmap(r.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map rings: %w", err)
	}
	r.mem = mem
	return nil
}

// takeFrames sets the filter of a socket: frames longer than over and not longer than most.
func takeFrames(fd int, over, most uint32) error {
	const none, all = 0, 1 << 20
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN},
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: most, Jt: 2},
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: over, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: all},
		{Code: unix.BPF_RET | unix.BPF_K, K: none},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("set filter: %w", err)
	}
	return nil
}

// free releases everything; it is called by the gate.
func (q *inline) free() {
	if q.small.fd >= 0 && q.large.fd >= 0 && q.jumbo.fd >= 0 {
		q.dropped.Add(q.rings.drops())
	}
	for _, r := range []*receiver{&q.small, &q.large, &q.jumbo} {
		if r.mem != nil {
			_ = unix.Munmap(r.mem)
			r.mem = nil
		}
		if r.fd >= 0 {
			_ = unix.Close(r.fd)
			r.fd = -1
		}
	}
	if q.wrapped.fd >= 0 {
		_ = unix.Close(q.wrapped.fd)
		q.wrapped.fd = -1
	}
	q.pulse.close()
	if q.event >= 0 {
		_ = unix.Close(q.event)
		q.event = -1
	}
}
