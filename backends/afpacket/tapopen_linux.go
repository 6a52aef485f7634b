package afpacket

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

// tapAttachment is one tapped endpoint.
type tapAttachment struct {
	*tap
}

var _ backend.Attachment = tapAttachment{}

// Queues implements backend.Attachment.
func (a tapAttachment) Queues() []backend.Queue { return []backend.Queue{a.tap} }

// Activate binds the socket, from when on frames come. It implements
// backend.Attachment.
func (a tapAttachment) Activate() error {
	err := a.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: a.index})
	})
	if err != nil {
		return fmt.Errorf("activate tap of endpoint %d: %w", a.endpoint, err)
	}
	a.bound.Store(true)
	return nil
}

// Close lets no more frames in; the queue ends when those in the ring have been
// received. It implements backend.Attachment.
func (a tapAttachment) Close() error {
	if !a.stopped.CompareAndSwap(0, time.Now().UnixNano()) {
		return nil
	}
	a.whileOpen(func() {
		_ = a.control(func(fd int) error { return setSnap(fd, 0, 0) })
	})
	a.Wake()
	return nil
}

// control runs fn on the tap's descriptor.
func (t *tap) control(fn func(fd int) error) error {
	var err error
	if cerr := t.conn.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// openTap prepares a tap; no frame comes before Activate.
func openTap(ep backend.Endpoint, cfg Config) (*tap, error) {
	t := &tap{endpoint: ep.ID, retire: cfg.TapRetire}
	fd := -1
	err := netns.Do(ep.NetNS, func() (err error) {
		// Protocol 0: the socket receives nothing until it is bound.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		return t.describe(fd, ep)
	})
	if err == nil {
		err = t.setUp(fd, cfg)
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, err
	}
	t.file = os.NewFile(uintptr(fd), "tap")
	if t.conn, err = t.file.SyscallConn(); err == nil {
		// Fails when the runtime's poller cannot watch the socket.
		err = t.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = unix.Munmap(t.ring)
		t.file.Close()
		return nil, fmt.Errorf("watch packet socket: %w", err)
	}
	t.wait = t.readable
	t.gate.release = t.free
	return t, nil
}

// describe reads what the interface is; it runs inside the namespace.
func (t *tap) describe(fd int, ep backend.Endpoint) error {
	ifr, err := unix.NewIfreq(ep.Interface)
	if err != nil {
		return fmt.Errorf("%w: interface %q: %w", ErrEndpoint, ep.Interface, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return fmt.Errorf("find interface %s: %w", ep.Interface, err)
	}
	t.index = int(ifr.Uint32())
	if ep.Index != 0 && ep.Index != t.index {
		return fmt.Errorf("%w: interface %s is number %d, not %d", ErrEndpoint, ep.Interface, t.index, ep.Index)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFMTU, ifr); err != nil {
		return fmt.Errorf("read mtu of %s: %w", ep.Interface, err)
	}
	t.mtu = ifr.Uint32()
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return fmt.Errorf("read type of %s: %w", ep.Interface, err)
	}
	switch ifr.Uint16() {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		t.link = packet.Ethernet
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT, unix.ARPHRD_PPP:
		t.link = packet.RawIP
	default:
		return fmt.Errorf("%w: interface %s is of link type %d", backend.ErrUnsupported, ep.Interface, ifr.Uint16())
	}
	return nil
}

// setUp gives the socket its ring and maps it.
func (t *tap) setUp(fd int, cfg Config) error {
	t.blockSize = 64 << 10
	// A block must hold a whole frame of the snap length, and several to be worth it.
	for t.blockSize < 2*cfg.TapSnap {
		t.blockSize *= 2
	}
	t.blocks = max(2, (cfg.TapRing+t.blockSize-1)/t.blockSize)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("%w: TPACKET_V3: %w", backend.ErrUnsupported, err)
	}
	if err := setSnap(fd, cfg.TapSnap, cfg.tapBulk); err != nil {
		return err
	}
	const frame = 2048 // a formality in this version, but it has to divide the block
	req := unix.TpacketReq3{
		Block_size: uint32(t.blockSize), Block_nr: uint32(t.blocks),
		Frame_size: frame, Frame_nr: uint32(t.blockSize / frame * t.blocks),
		Retire_blk_tov: uint32(max(1, cfg.TapRetire.Milliseconds())),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("make tap ring of %d x %d bytes: %w", t.blocks, t.blockSize, err)
	}
	mem, err := unix.Mmap(fd, 0, t.blocks*t.blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map tap ring: %w", err)
	}
	t.ring = mem
	return nil
}

// setSnap lets the kernel copy frames of up to n bytes, and bulk bytes at most of longer
// ones; 0 lets none in.
func setSnap(fd, n, bulk int) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN},
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: uint32(n), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(n)},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(bulk)},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("set snap length: %w", err)
	}
	return nil
}

// htons is v in network order: every machine that we support is little endian.
func htons(v uint16) uint16 { return v<<8 | v>>8 }
