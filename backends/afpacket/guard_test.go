package afpacket_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// guarded is an attached endpoint of which parts are changed.
type guarded struct {
	t       *testing.T
	n       *testnet.Bridge
	b       *afpacket.Backend
	a       backend.Attachment
	fail    backend.FailMode
	verdict atomic.Int32 // a packet.Action
	judged  atomic.Int64 // UDP datagrams
}

func startGuarded(t *testing.T, how afpacket.Steering, fail backend.FailMode) *guarded {
	t.Helper()
	g := &guarded{t: t, n: testnet.New(t).Bridge("a", "b"), b: afpacket.New(afpacket.Config{Steering: how}), fail: fail}
	t.Cleanup(func() { g.b.Close() })
	g.verdict.Store(int32(packet.Pass))
	g.a = serve(t, g.b, inlineOf(1, g.n.Workloads[0], fail), func(f *packet.Frame) packet.Action {
		if isUDP(f.Data) { // not what the kernels say of themselves
			g.judged.Add(1)
		}
		return packet.Action(g.verdict.Load())
	})
	g.works("before")
	return g
}

// isUDP reports whether an Ethernet frame carries a UDP datagram.
func isUDP(b []byte) bool {
	return len(b) > 34 && (b[12] == 0x08 && b[23] == unix.IPPROTO_UDP || b[12] == 0x86 && b[20] == unix.IPPROTO_UDP)
}

// works checks that what the judge passes is delivered, and nothing else, by both families.
func (g *guarded) works(when string) {
	g.t.Helper()
	a, b := g.n.Workloads[0], g.n.Workloads[1]
	for deadline, before := time.Now().Add(2*within), g.judged.Load(); g.judged.Load() == before && time.Now().Before(deadline); {
		reaches(g.t, a, b, "udp4") // until the worker's next heartbeat
	}
	for _, network := range []string{"udp4", "udp6"} {
		before := g.judged.Load()
		if !reaches(g.t, a, b, network) || g.judged.Load() == before {
			g.t.Errorf("%s: %s datagram judged %d times, or lost", when, network, g.judged.Load()-before)
		}
		g.verdict.Store(int32(packet.Drop))
		if reaches(g.t, a, b, network) {
			g.t.Errorf("%s: a dropped %s datagram was delivered", when, network)
		}
		g.verdict.Store(int32(packet.Pass))
	}
}

// repaired waits until a repair of a part is reported, and returns how long it took.
func (g *guarded) repaired(part string) time.Duration {
	g.t.Helper()
	begin := time.Now()
	var seen []string
	for {
		for _, r := range g.b.TakeRepairs() {
			seen = append(seen, fmt.Sprintf("%s of %s: %s: %v", r.Part, r.Interface, r.Detail, r.Err))
			if r.Part == part && r.Err == nil && r.Detail != "" {
				return time.Since(begin)
			}
		}
		select {
		case <-g.b.Repaired():
		case <-time.After(3*time.Second - time.Since(begin)):
			g.t.Fatalf("no repair of part %s; seen: %s", part, strings.Join(seen, "; "))
		}
	}
}

// run runs a command in a namespace; OTHER in it is another namespace.
func run(t *testing.T, n *testnet.NS, command string) {
	t.Helper()
	if strings.Contains(command, "OTHER") {
		command = strings.ReplaceAll(command, "OTHER", testnet.New(t).Namespace("other").Name)
	}
	n.Do(func() error {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return nil
	})
}

// within is the limit of a repair.
const within = time.Second

// What other programs do to the service port is undone in a second, with the programs at the
// hooks in place all the time.
func TestPortRepaired(t *testing.T) {
	testnet.RequireRoot(t)
	for _, c := range []struct{ name, command string }{
		{"near end down", "ip link set sluice-svc down"},
		{"engine's end down", "ip link set sluice-svcp down"},
		{"both down", "ip link set sluice-svc down; ip link set sluice-svcp down"},
		{"near end deleted", "ip link del sluice-svc"},
		{"engine's end deleted", "ip link del sluice-svcp"},
		{"near end moved", "ip link set sluice-svc netns OTHER"},
		{"engine's end moved", "ip link set sluice-svcp netns OTHER"},
		{"near end renamed", "ip link set sluice-svc name other0"},
		{"engine's end renamed", "ip link set sluice-svcp name other0"},
		{"near end enslaved", "ip link add br9 type bridge; ip link set br9 up; ip link set sluice-svc master br9"},
		{"engine's end enslaved", "ip link add br9 type bridge; ip link set br9 up; ip link set sluice-svcp master br9"},
		{"MTU of the near end", "ip link set sluice-svc mtu 1000"},
		{"MTU of the engine's end", "ip link set sluice-svcp mtu 1000"},
		{"ARP", "ip link set sluice-svc arp on"},
		{"alias", "ip link set sluice-svc alias other"},
		{"queueing discipline", "tc qdisc add dev sluice-svc root handle 7: pfifo limit 1"},
	} {
		for _, how := range steerings() {
			fail := backend.FailClosed
			if how == afpacket.SteerClsact {
				fail = backend.FailOpen
			}
			t.Run(c.name+"/"+how.String(), func(t *testing.T) {
				g := startGuarded(t, how, fail)
				q := g.a.Queues()[0]
				run(t, g.n.Host, c.command)
				if d := g.repaired(backend.PartPort); d > within {
					t.Errorf("repaired after %v", d)
				}
				g.works("after")
				if g.a.Queues()[0] != q {
					t.Error("another queue")
				}
				if err := g.a.Close(); err != nil {
					t.Error(err)
				}
				if err := g.b.Close(); err != nil {
					t.Error(err)
				}
				if hasPort(g.n.Host) {
					t.Error("the port was left")
				}
			})
		}
	}
}

func steerings() []afpacket.Steering {
	return []afpacket.Steering{afpacket.SteerTCX, afpacket.SteerClsact}
}

// Offloads that a virtio_net_hdr cannot express are switched off again.
func TestOffloadsRepaired(t *testing.T) {
	testnet.RequireRoot(t)
	if _, err := exec.LookPath("ethtool"); err != nil {
		t.Skip("ethtool is not installed")
	}
	g := startGuarded(t, afpacket.SteerAuto, backend.FailClosed)
	run(t, g.n.Host, "ethtool -K sluice-svc tx-sctp-segmentation on tx-checksum-sctp on")
	g.repaired(backend.PartPort)
	g.works("after")
}

// While the port cannot be repaired, the fail mode applies; afterwards everything is judged.
func TestPortBroken(t *testing.T) {
	testnet.RequireRoot(t)
	for _, fail := range []backend.FailMode{backend.FailOpen, backend.FailClosed} {
		t.Run(fmt.Sprint("fail mode ", fail), func(t *testing.T) {
			g := startGuarded(t, afpacket.SteerAuto, fail)
			// An interface of the port's name is not removed.
			g.b.WhileLocked(func() {
				g.n.Host.Do(func() error {
					l, err := netlink.LinkByName("sluice-svc")
					if err != nil {
						return err
					}
					return errors.Join(netlink.LinkDel(l), netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "sluice-svc"}}))
				})
			})
			broken := false
			for deadline := time.Now().Add(2 * time.Second); !broken && time.Now().Before(deadline); {
				for _, r := range g.b.TakeRepairs() {
					broken = broken || r.Err != nil
				}
				time.Sleep(10 * time.Millisecond)
			}
			if !broken {
				t.Fatal("not reported as broken")
			}
			before := g.judged.Load()
			for _, network := range []string{"udp4", "udp6"} {
				if got := reaches(t, g.n.Workloads[0], g.n.Workloads[1], network); got != (fail == backend.FailOpen) {
					t.Errorf("%s delivered: %v", network, got)
				}
			}
			if g.judged.Load() != before {
				t.Error("judged without a port")
			}
			var frames uint64
			for _, u := range g.b.TakeUnjudged() {
				if u.Endpoint == 1 && u.Dropped == (fail == backend.FailClosed) {
					frames += u.Frames
				}
			}
			if frames == 0 {
				t.Error("frames without a verdict were not counted")
			}
			run(t, g.n.Host, "ip link del sluice-svc")
			for done := false; !done; {
				select {
				case <-g.b.Repaired():
					for _, r := range g.b.TakeRepairs() {
						done = done || r.Part == backend.PartPort && r.Err == nil
					}
				case <-time.After(3 * time.Second):
					t.Fatal("not repaired")
				}
			}
			g.works("after")
		})
	}
}

// acceptAll returns a program that ends the processing of a frame: it passes.
func acceptAll(t *testing.T) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Programs that were removed from an interface or preceded there are put back.
func TestProgramsRepaired(t *testing.T) {
	testnet.RequireRoot(t)
	hook := func(g *guarded) (index int) {
		g.n.Host.Do(func() error {
			l, err := netlink.LinkByName(onHost(g.n.Workloads[0]).Hook.Interface)
			if err == nil {
				index = l.Attrs().Index
			}
			return err
		})
		return index
	}
	port := func(g *guarded) (index int) {
		g.n.Host.Do(func() error {
			l, err := netlink.LinkByName("sluice-svc")
			if err == nil {
				index = l.Attrs().Index
			}
			return err
		})
		return index
	}
	preceded := func(index func(*guarded) int, at ebpf.AttachType) func(*guarded) {
		return func(g *guarded) {
			g.n.Host.Do(func() error {
				l, err := link.AttachTCX(link.TCXOptions{Interface: index(g), Program: acceptAll(g.t), Attach: at, Anchor: link.Head()})
				if err == nil {
					g.t.Cleanup(func() { l.Close() })
				}
				return err
			})
		}
	}
	removed := func(index func(*guarded) int, at ebpf.AttachType) func(*guarded) {
		return func(g *guarded) { g.n.Host.Do(func() error { return detachAll(index(g), at) }) }
	}
	filters := func(command string) func(*guarded) {
		return func(g *guarded) {
			run(g.t, g.n.Host, strings.ReplaceAll(command, "DEV", onHost(g.n.Workloads[0]).Hook.Interface))
		}
	}
	for _, c := range []struct {
		name   string
		how    afpacket.Steering
		part   string
		change func(*guarded)
	}{
		{"ingress removed", afpacket.SteerTCX, backend.PartProgram, removed(hook, ebpf.AttachTCXIngress)},
		{"egress removed", afpacket.SteerTCX, backend.PartProgram, removed(hook, ebpf.AttachTCXEgress)},
		{"ingress preceded", afpacket.SteerTCX, backend.PartProgram, preceded(hook, ebpf.AttachTCXIngress)},
		{"egress preceded", afpacket.SteerTCX, backend.PartProgram, preceded(hook, ebpf.AttachTCXEgress)},
		{"port's removed", afpacket.SteerTCX, backend.PartPort, removed(port, ebpf.AttachTCXIngress)},
		{"port's preceded", afpacket.SteerTCX, backend.PartPort, preceded(port, ebpf.AttachTCXIngress)},
		{"qdisc deleted", afpacket.SteerClsact, backend.PartProgram, filters("tc qdisc del dev DEV clsact")},
		{"ingress filters deleted", afpacket.SteerClsact, backend.PartProgram, filters("tc filter del dev DEV ingress")},
		{"egress filters deleted", afpacket.SteerClsact, backend.PartProgram, filters("tc filter del dev DEV egress")},
		{"port's qdisc deleted", afpacket.SteerClsact, backend.PartPort, filters("tc qdisc del dev sluice-svc clsact")},
		{"filter preceded", afpacket.SteerClsact, backend.PartProgram, func(g *guarded) {
			g.n.Host.Do(func() error {
				return netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: hook(g), Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
					Fd: acceptAll(g.t).FD(), Name: "other", DirectAction: true})
			})
		}},
	} {
		t.Run(c.how.String()+"/"+c.name, func(t *testing.T) {
			g := startGuarded(t, c.how, backend.FailClosed)
			c.change(g)
			if d := g.repaired(c.part); d > within {
				t.Errorf("repaired after %v", d)
			}
			g.works("after")
			if err := g.a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// detachAll ends all tcx links at a hook, as "bpftool link detach" does.
func detachAll(index int, at ebpf.AttachType) error {
	list, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: at})
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for _, p := range list.Programs {
		id, ok := p.LinkID()
		if !ok {
			continue
		}
		l, err := link.NewFromID(id)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		err = l.Detach()
		_ = l.Close()
		if err != nil {
			return fmt.Errorf("detach: %w", err)
		}
	}
	return nil
}

// Entries of maps that were changed or deleted are restored.
func TestMapsRepaired(t *testing.T) {
	testnet.RequireRoot(t)
	for _, name := range []string{"hooks", "endpoints", "unjudged"} {
		t.Run(name, func(t *testing.T) {
			g := startGuarded(t, afpacket.SteerAuto, backend.FailClosed)
			if err := g.b.ClearMap(name); err != nil {
				t.Fatal(err)
			}
			if d := g.repaired(backend.PartMap); d > within {
				t.Errorf("repaired after %v", d)
			}
			g.works("after")
		})
	}
}
