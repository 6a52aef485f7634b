package afpacket

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// Probe tries what taps and inline endpoints need, in the calling thread's namespace; it
// removes whatever it creates.
func Probe() []backend.Feature {
	const (
		taps   = "no workload can be watched"
		inline = "no workload can be protected by packet rings"
	)
	tcx := probeTCX()
	clsact := "nothing, where tcx works"
	if tcx != nil {
		clsact = inline
	}
	return []backend.Feature{
		{Name: "packet ring of taps", Err: probeRing(unix.TPACKET_V3, false), Essential: true, Detail: "TPACKET_V3", Cost: taps,
			Remedy: "use a kernel with CONFIG_PACKET, 3.2 or newer"},
		{Name: "packet rings inline", Err: probeRing(unix.TPACKET_V2, true), Essential: true, Detail: "TPACKET_V2 with PACKET_VNET_HDR", Cost: inline,
			Remedy: "use a kernel with CONFIG_PACKET, 4.6 or newer"},
		{Name: "receive-only sockets", Err: probeIgnoreOutgoing(), Essential: true, Detail: "PACKET_IGNORE_OUTGOING", Cost: inline,
			Remedy: "use kernel 4.20 or newer"},
		{Name: "BPF maps", Err: probeMemlock(), Essential: true, Detail: "mappable arrays", Cost: inline,
			Remedy: "allow bpf(2), and enough locked memory on kernels before 5.11 (ulimit -l)"},
		{Name: "BPF programs", Err: probePrograms(), Essential: true, Detail: "the steering programs load", Cost: inline,
			Remedy: "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF; in a container, allow bpf(2)"},
		{Name: "tcx", Err: tcx, Detail: "programs detach by themselves when the process dies",
			Cost:   "clsact filters are used; after a crash they stay until the next start and let everything pass",
			Remedy: "use kernel 6.6 or newer"},
		{Name: "clsact", Err: probeClsact(), Essential: tcx != nil, Detail: "filters attach", Cost: clsact,
			Remedy: "load the modules: modprobe sch_ingress cls_bpf"},
	}
}

// probeRing requests the smallest ring of a version.
func probeRing(version int, vnet bool) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, version); err != nil {
		return fmt.Errorf("choose version: %w", err)
	}
	if vnet {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return fmt.Errorf("switch virtio_net_hdr on: %w", err)
		}
	}
	const block = 1 << 16
	if version == unix.TPACKET_V3 {
		req := unix.TpacketReq3{Block_size: block, Block_nr: 1, Frame_size: block, Frame_nr: 1, Retire_blk_tov: 10}
		return unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req)
	}
	req := unix.TpacketReq{Block_size: block, Block_nr: 1, Frame_size: block, Frame_nr: 1}
	return unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req)
}

func probeIgnoreOutgoing() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
}

// probeMemlock creates the largest kind of map that the steering programs need.
func probeMemlock() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return err
	}
	return m.Close()
}

// probePrograms loads the steering programs themselves.
func probePrograms() error {
	var objs steerObjects
	if err := loadSteerObjects(&objs, nil); err != nil {
		return err
	}
	return objs.Close()
}

// passProgram returns a program that passes everything.
func passProgram() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, -1), asm.Return(),
	}})
}

// loopback returns an interface that always exists.
func loopback() (int, error) {
	l, err := netlink.LinkByName("lo")
	if err != nil {
		return 0, fmt.Errorf("find loopback: %w", err)
	}
	return l.Attrs().Index, nil
}

func probeTCX() error {
	p, err := passProgram()
	if err != nil {
		return err
	}
	defer p.Close()
	lo, err := loopback()
	if err != nil {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: lo, Program: p, Attach: ebpf.AttachTCXEgress})
	if err != nil {
		return err
	}
	return l.Close()
}

// probeClsact uses its own veth: a qdisc must not be tried on another's interface.
func probeClsact() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "sluice-probe"
	dev := &netlink.Veth{LinkAttrs: attrs, PeerName: "sluice-probep"}
	if err := netlink.LinkAdd(dev); err != nil {
		return fmt.Errorf("add a veth to try on: %w", err)
	}
	l, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	defer func() { _ = netlink.LinkDel(l) }()
	p, err := passProgram()
	if err != nil {
		return err
	}
	defer p.Close()
	f := &filter{index: l.Attrs().Index, parent: netlink.HANDLE_MIN_INGRESS}
	if err := f.add(p); err != nil {
		return err
	}
	return f.Close()
}
