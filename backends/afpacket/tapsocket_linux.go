package afpacket

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

// tapSocket is one packet socket of a tap and its ring.
type tapSocket struct {
	file  *os.File
	conn  syscall.RawConn
	index int
	mtu   uint32
	link  packet.LinkType
	since int64 // when it was bound, ns since the epoch; for one that replaces another

	watched chan struct{} // closed when watch has ended; nil before watch

	ring      ring
	blockSize int
	blocks    int

	// Used by the worker only. cur is the block being read, at the offset of its next frame,
	// with left frames remaining; Settle returns the done blocks before it.
	cur, at, left, done int
	seq                 uint32 // of the block begun last
}

// openTapSocket opens a socket with a ring of size bytes; no frame arrives before bind.
func openTapSocket(ep backend.Endpoint, cfg Config, size int) (*tapSocket, error) {
	s := &tapSocket{}
	fd := -1
	err := netns.Do(ep.NetNS, func() (err error) {
		// Protocol 0: the socket receives nothing until it is bound.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		return s.describe(fd, ep)
	})
	if err == nil {
		err = s.setUp(fd, cfg, size)
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, err
	}
	s.file = os.NewFile(uintptr(fd), "tap")
	if s.conn, err = s.file.SyscallConn(); err == nil {
		// Fails when the runtime's poller cannot watch the socket.
		err = s.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("watch packet socket: %w", err)
	}
	return s, nil
}

// control runs fn on the descriptor.
func (s *tapSocket) control(fn func(fd int) error) error {
	var err error
	if cerr := s.conn.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// bind starts the flow of frames.
func (s *tapSocket) bind() error {
	return s.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: s.index})
	})
}

// snap sets how much of a frame is copied, as setSnap does.
func (s *tapSocket) snap(n, bulk int) error {
	return s.control(func(fd int) error { return setSnap(fd, n, bulk) })
}

// drops returns the kernel's count since the last query.
func (s *tapSocket) drops() (n uint64) {
	_ = s.control(func(fd int) error {
		st, err := unix.GetsockoptTpacketStatsV3(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			n = uint64(st.Drops)
		}
		return err
	})
	return n
}

// watch calls signal when it begins and whenever the socket becomes readable or has an error, until
// it is closed.
func (s *tapSocket) watch(signal func()) {
	s.watched = make(chan struct{})
	go func() {
		defer close(s.watched)
		// One call for all times: the poller forgets what happens between two.
		_ = s.conn.Read(func(uintptr) bool { signal(); return false })
	}()
}

// close releases everything.
func (s *tapSocket) close() {
	_ = s.file.Close()
	if s.watched != nil {
		<-s.watched
	}
	_ = unix.Munmap(s.ring)
	s.ring = nil
}

// ready reports whether the kernel has handed a block over.
func (s *tapSocket) ready() bool {
	return s.left > 0 || s.ring.status(s.cur*s.blockSize+blockStatus)&unix.TP_STATUS_USER != 0
}

// begin moves to the first frame of the block at cur.
func (s *tapSocket) begin() {
	base := s.cur * s.blockSize
	s.left = int(s.ring.u32(base + blockPackets))
	s.at = base + int(s.ring.u32(base+blockFirst))
	s.seq = s.ring.u32(base + blockSeq)
}

// stamp returns that of the next frame of the present block.
func (s *tapSocket) stamp() int64 {
	return int64(s.ring.u32(s.at+v3Sec))*1e9 + int64(s.ring.u32(s.at+v3Nsec))
}

// filling reports whether the kernel has put frames into the block that it hands over next.
func (s *tapSocket) filling() bool {
	base := s.cur * s.blockSize
	// A block that was returned and not opened again has its old number.
	return s.ring.u32(base+blockSeq) == s.seq+1 && s.ring.u32(base+blockPackets) > 0
}

// unfinished begins the block that the kernel has not handed over, if it holds frames: for
// when no more can arrive. The kernel's own timer could take twice as long as the larger ring
// lasts.
func (s *tapSocket) unfinished() bool {
	if !s.filling() {
		return false
	}
	s.begin()
	return true
}

// crowded reports whether a quarter of the ring is unread.
func (s *tapSocket) crowded() bool {
	ahead := (s.cur + s.blocks/4) % s.blocks
	return s.ring.status(ahead*s.blockSize+blockStatus)&unix.TP_STATUS_USER != 0
}

// giveBack returns the read blocks to the kernel.
func (s *tapSocket) giveBack() {
	for ; s.done > 0; s.done-- {
		i := (s.cur - s.done + s.blocks) % s.blocks
		s.ring.setStatus(i*s.blockSize+blockStatus, unix.TP_STATUS_KERNEL)
	}
}

// describe reads the properties of the interface; it runs inside the namespace.
func (s *tapSocket) describe(fd int, ep backend.Endpoint) error {
	ifr, err := unix.NewIfreq(ep.Interface)
	if err != nil {
		return fmt.Errorf("%w: interface %q: %w", ErrEndpoint, ep.Interface, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return fmt.Errorf("find interface %s: %w", ep.Interface, err)
	}
	s.index = int(ifr.Uint32())
	if ep.Index != 0 && ep.Index != s.index {
		return fmt.Errorf("%w: interface %s is number %d, not %d", ErrEndpoint, ep.Interface, s.index, ep.Index)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFMTU, ifr); err != nil {
		return fmt.Errorf("read mtu of %s: %w", ep.Interface, err)
	}
	s.mtu = ifr.Uint32()
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return fmt.Errorf("read type of %s: %w", ep.Interface, err)
	}
	switch ifr.Uint16() {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		s.link = packet.Ethernet
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT, unix.ARPHRD_PPP:
		s.link = packet.RawIP
	default:
		return fmt.Errorf("%w: interface %s is of link type %d", backend.ErrUnsupported, ep.Interface, ifr.Uint16())
	}
	return nil
}

// setUp creates and maps the socket's ring.
func (s *tapSocket) setUp(fd int, cfg Config, size int) error {
	s.blockSize = 64 << 10
	// A block must hold a whole frame of the snap length, and several to be worth it.
	for s.blockSize < 2*cfg.TapSnap {
		s.blockSize *= 2
	}
	s.blocks = max(2, (size+s.blockSize-1)/s.blockSize)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("%w: TPACKET_V3: %w", backend.ErrUnsupported, err)
	}
	if err := setSnap(fd, cfg.TapSnap, cfg.tapBulk); err != nil {
		return err
	}
	const frame = 2048 // a formality in this version, but it has to divide the block
	req := unix.TpacketReq3{
		Block_size: uint32(s.blockSize), Block_nr: uint32(s.blocks),
		Frame_size: frame, Frame_nr: uint32(s.blockSize / frame * s.blocks),
		Retire_blk_tov: uint32(max(1, cfg.TapRetire.Milliseconds())),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("make tap ring of %d x %d bytes: %w", s.blocks, s.blockSize, err)
	}
	mem, err := unix.Mmap(fd, 0, s.blocks*s.blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map tap ring: %w", err)
	}
	s.ring = mem
	return nil
}

// setSnap makes the kernel copy frames of up to n bytes completely, and at most bulk bytes of
// longer ones; 0 admits none.
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

// htons returns v in network order: every supported machine is little endian.
func htons(v uint16) uint16 { return v<<8 | v>>8 }
