package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
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

// preflight returns the reason in a sentence why the dataplane cannot start here; nil if it can.
func preflight() error {
	if missing := missingRights(); len(missing) > 0 {
		names := make([]string, 0, len(missing))
		for _, r := range missing {
			names = append(names, r.name)
		}
		if os.Geteuid() != 0 {
			return fmt.Errorf("watching other namespaces needs root: start it with sudo (missing: %s)", strings.Join(names, ", "))
		}
		return fmt.Errorf("root, but without %s: give these capabilities to the container or service (`sluice doctor` shows what each is for)", strings.Join(names, ", "))
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
	out = append(out, namespaceChecks()...)
	out = append(out, hostChecks()...)
	return append(out, namedCheck(), priorityCheck())
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
		out = append(out, tried("veth", veth, true, "pairs can be made", "nothing can be enforced: packets are judged between the two ends of a veth", "load the module: modprobe veth"))
		out = append(out, featureChecks(afpacket.Probe())...)
		out = append(out,
			tried("IPv6", tryIPv6(), false, "on", "IPv6 connections do not exist here; nothing else changes", "boot without ipv6.disable=1, or load the module: modprobe ipv6"),
			tried("socket diagnosis", tryDiag(), false, "inet_diag", "the server side of connections that were open before the start is recognised by port numbers only", "load the modules: modprobe inet_diag tcp_diag udp_diag"))
		if veth == nil {
			out = append(out, featureChecks(nfqueue.Probe(probeLink))...)
		}
		result <- out
	}()
	return <-result
}

// featureChecks makes checks of what a backend found.
func featureChecks(found []backend.Feature) []check {
	out := make([]check, 0, len(found))
	for _, f := range found {
		out = append(out, tried(f.Name, f.Err, f.Essential, f.Detail, f.Cost, f.Remedy))
	}
	return out
}

// probeLink is an interface of the namespace in which things are tried.
const probeLink = "sld0"

func addVeth() error {
	la := netlink.NewLinkAttrs()
	la.Name = probeLink
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "sld1"})
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
