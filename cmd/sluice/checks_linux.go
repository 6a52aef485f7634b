package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// right is a capability and what it is for.
type right struct {
	bit  int
	name string
	use  string
}

var rights = []right{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "attach to interfaces"},
	{unix.CAP_NET_RAW, "CAP_NET_RAW", "open packet rings"},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "enter network namespaces and load BPF programs"},
}

// missingRights names the capabilities that this process lacks.
func missingRights() []right {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return rights
	}
	var out []right
	for _, r := range rights {
		if data[r.bit/32].Effective&(1<<(r.bit%32)) == 0 {
			out = append(out, r)
		}
	}
	return out
}

// preflight says in a sentence why the dataplane cannot start here; nil if it can.
func preflight() error {
	if missing := missingRights(); len(missing) > 0 {
		names := make([]string, 0, len(missing))
		for _, r := range missing {
			names = append(names, r.name)
		}
		if os.Geteuid() != 0 {
			return fmt.Errorf("watching other namespaces needs root: start it with sudo (missing: %s)", strings.Join(names, ", "))
		}
		return fmt.Errorf("root, but without %s: give these capabilities to the container or service (`sluice doctor` says what each is for)", strings.Join(names, ", "))
	}
	if err := features.HaveProgramType(ebpf.SchedCLS); err != nil {
		return fmt.Errorf("this kernel gives no BPF programs to traffic control (%w): it needs CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF, and bpf(2) must not be blocked by seccomp (`sluice doctor` checks it)", err)
	}
	return nil
}

// machineChecks tries everything that Sluice uses.
func machineChecks() []check {
	var u unix.Utsname
	_ = unix.Uname(&u)
	out := []check{{Name: "kernel", OK: true, Essential: true, Detail: unix.ByteSliceToString(u.Release[:]) + " " + runtime.GOARCH}}
	missing := map[string]bool{}
	for _, r := range missingRights() {
		missing[r.name] = true
	}
	for _, r := range rights {
		out = append(out, check{Name: "right " + r.name, OK: !missing[r.name], Essential: true, Detail: r.use,
			Cost: "Sluice cannot " + r.use, Fix: "run it as root, or give the container or service this capability"})
	}
	out = append(out, bpfChecks()...)
	out = append(out, namespaceChecks()...)
	out = append(out, hostChecks()...)
	return append(out, namedCheck(), priorityCheck())
}

func bpfChecks() []check {
	sys := features.HaveProgramType(ebpf.SchedCLS)
	hash := features.HaveMapType(ebpf.Hash)
	return []check{
		tried("BPF programs", sys, true, "traffic control programs load", "nothing can be enforced",
			"use a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF; in a container, allow bpf(2)"),
		tried("BPF maps", hash, true, "hash maps can be made", "nothing can be enforced", "allow bpf(2), and enough locked memory on kernels before 5.11"),
	}
}

// tried makes a check of the outcome of trying.
func tried(name string, err error, essential bool, detail, cost, fix string) check {
	if err == nil {
		return check{Name: name, OK: true, Essential: essential, Detail: detail}
	}
	return check{Name: name, Essential: essential, Detail: err.Error(), Cost: cost, Fix: fix}
}

// namespaceChecks try links and rings in a namespace of their own, which dies with its thread.
func namespaceChecks() []check {
	result := make(chan []check)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, and the namespace with it.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- []check{tried("network namespaces", err, true, "", "there is nothing to watch", "run as root on a kernel with CONFIG_NET_NS")}
			return
		}
		out := []check{{Name: "network namespaces", OK: true, Essential: true, Detail: "can be made and entered"}}
		veth := addVeth()
		out = append(out,
			tried("veth", veth, true, "pairs can be made", "nothing can be enforced: packets are judged between the two ends of a veth", "load the module: modprobe veth"),
			tried("packet rings", tryRing(unix.TPACKET_V3), true, "TPACKET_V3", "nothing can be watched", "use a kernel with CONFIG_PACKET, 3.2 or newer"),
			tried("offload metadata", tryVNet(), true, "PACKET_VNET_HDR", "nothing can be enforced at full speed", "use a kernel with CONFIG_PACKET, 2.6.27 or newer"),
			tried("IPv6", tryIPv6(), false, "on", "IPv6 connections do not exist here; nothing else changes", "boot without ipv6.disable=1, or load the module: modprobe ipv6"),
			tried("socket diagnosis", tryDiag(), false, "inet_diag", "the server side of connections that were open before the start is told by port numbers only", "load the modules: modprobe inet_diag tcp_diag udp_diag"))
		if veth == nil {
			out = append(out, tried("clsact", addClsact(), true, "programs can be hooked on interfaces", "nothing can be enforced", "load the modules: modprobe sch_ingress cls_bpf"))
			out = append(out, queueChecks("sld0")...)
		}
		result <- append(out, tcxCheck())
	}()
	return <-result
}

func addVeth() error {
	la := netlink.NewLinkAttrs()
	la.Name = "sld0"
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "sld1"})
}

func addClsact() error {
	l, err := netlink.LinkByName("sld0")
	if err != nil {
		return err
	}
	return netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
}

// tryRing asks for a version of the packet ring without mapping one.
func tryRing(v int) error {
	return withPacketSocket(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, v) })
}

func tryVNet() error {
	return withPacketSocket(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1) })
}

func withPacketSocket(fn func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fd)
}

func tryIPv6() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func tryDiag() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// tcxCheck goes by the kernel's version: tcx came with 6.6.
func tcxCheck() check {
	var u unix.Utsname
	_ = unix.Uname(&u)
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	if err == nil && (major < 6 || major == 6 && minor < 6) {
		err = errors.New("the kernel is older than 6.6")
	}
	return tried("tcx", err, false, "programs detach by themselves when the process dies",
		"clsact filters are used; after a crash they stay until the next start and let everything pass", "use kernel 6.6 or newer")
}

func namedCheck() check {
	names, err := netns.List()
	c := check{Name: "named namespaces", OK: err == nil && len(names) > 0, Detail: fmt.Sprintf("%d in %s", len(names), netns.Dir)}
	if !c.OK {
		c.Cost, c.Fix = "there is nothing to watch yet", "make one (`ip netns add web`); sluice finds it at once, running or not"
	}
	if ifs, err := net.Interfaces(); err == nil && c.OK {
		c.Detail += fmt.Sprintf(", %d interfaces on the host", len(ifs))
	}
	return c
}
