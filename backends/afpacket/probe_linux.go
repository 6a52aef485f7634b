package afpacket

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Probe tries what taps and inline endpoints need. It runs in the calling thread's
// namespace; what it makes for a trial it removes again.
func Probe() []Feature {
	type trial struct {
		name, cost, remedy string
		try                func() error
	}
	const (
		taps   = "no workload can be tapped"
		inline = "no workload can be protected inline"
		caps   = "run as root, or in a container with --cap-add "
	)
	trials := []trial{
		{"CAP_NET_ADMIN", inline, caps + "NET_ADMIN", func() error { return capability(unix.CAP_NET_ADMIN) }},
		{"CAP_NET_RAW", taps + " or protected inline", caps + "NET_RAW", func() error { return capability(unix.CAP_NET_RAW) }},
		{"CAP_SYS_ADMIN", "workloads in namespaces of their own cannot be entered", caps + "SYS_ADMIN", func() error { return capability(unix.CAP_SYS_ADMIN) }},
		{"CAP_BPF", inline, caps + "BPF (before Linux 5.8: SYS_ADMIN)", bpfCapability},
		{"tap ring (TPACKET_V3)", taps, "use a kernel with CONFIG_PACKET_MMAP", func() error { return probeRing(unix.TPACKET_V3, false) }},
		{"inline rings (TPACKET_V2 with virtio_net_hdr)", inline, "use a kernel with CONFIG_PACKET_MMAP, 4.6 or later", func() error { return probeRing(unix.TPACKET_V2, true) }},
		{"PACKET_IGNORE_OUTGOING", inline, "use Linux 4.20 or later", probeIgnoreOutgoing},
		{"memory for BPF", "steering programs cannot be loaded", "raise the memlock limit (ulimit -l), or use Linux 5.11 or later", probeMemlock},
		{"BPF programs", inline, "allow the bpf system call (seccomp profile, kernel lockdown)", probePrograms},
		{"tcx links", "clsact filters are used instead: they stay behind when the process is killed, until it starts again", "use Linux 6.6 or later", probeTCX},
		{"clsact filters", "nothing where tcx is there; else " + inline, "load the modules sch_ingress and cls_bpf", probeClsact},
	}
	out := make([]Feature, len(trials))
	for i, t := range trials {
		err := t.try()
		out[i] = Feature{Name: t.name, OK: err == nil, Err: err, Cost: t.cost, Remedy: t.remedy}
	}
	return out
}

var errNoCapability = errors.New("the process does not have it")

// capability says whether the calling thread has a capability in effect.
func capability(n uint) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if data[n/32].Effective&(1<<(n%32)) == 0 {
		return errNoCapability
	}
	return nil
}

func bpfCapability() error {
	if capability(unix.CAP_BPF) == nil {
		return nil
	}
	return capability(unix.CAP_SYS_ADMIN)
}

// probeRing asks for the smallest ring of a version.
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

// probeMemlock makes the largest kind of map that the steering programs need.
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

// passProgram lets everything by.
func passProgram() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, -1), asm.Return(),
	}})
}

// loopback is an interface that is always there.
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

// probeClsact tries on a veth of its own: a qdisc is nothing to try out on
// somebody else's interface.
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
