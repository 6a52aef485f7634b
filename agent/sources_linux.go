package agent

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/own"
)

// labelForwarding is the label of a workload that routes or bridges for others (nested containers,
// a virtual router): whose addresses are in its packets is not checked, and it may advertise routes.
const labelForwarding = "sluice.net/forwarding"

// sourcer is a Dataplane that checks the addresses of senders.
type sourcer interface {
	SetSources(endpoint uint32, l *own.List)
}

// sourceReader reads the addresses of workloads and reports them to the engine.
type sourceReader struct {
	engine sourcer // nil if it checks none
	log    *slog.Logger
}

func newSourceReader(cfg Config) *sourceReader {
	s, _ := cfg.Engine.(sourcer)
	return &sourceReader{s, cfg.Logger}
}

// set gives the engine the addresses of an endpoint's workload. From then on the engine reads
// them again where an address is missing, since one may have been added a moment ago.
func (r *sourceReader) set(t *tracked, e *endpoint) {
	if r.engine == nil || t.HostNet || e.iface.Name == loopback {
		return
	}
	path := t.NetNS
	now, err := addressesOf(path)
	if err != nil {
		r.log.Warn("addresses not read, senders are not checked", "workload", t.ID, "interface", e.iface.Name, "error", err)
		return
	}
	cfg := own.Config{Workload: t.ID, Read: func() (*own.Set, error) { return addressesOf(path) }, Forwards: t.forwarding()}
	if len(e.plans) > 0 {
		if gate := e.plans[0].Hook.NetNS; gate != path {
			cfg.Gateways = func() (map[own.MAC]struct{}, error) { return macsOf(gate) }
		}
	}
	e.sources = own.New(cfg, now)
	r.engine.SetSources(e.id, e.sources)
}

// refresh reads the addresses of a changed workload again.
func (r *sourceReader) refresh(t *tracked) {
	if r.engine == nil {
		return
	}
	for _, e := range t.endpoints {
		if e.sources == nil {
			continue
		}
		if now, err := addressesOf(t.NetNS); err == nil {
			e.sources.Update(now)
			r.engine.SetSources(e.id, e.sources)
		}
	}
}

// drop ends the check of an endpoint that is gone.
func (r *sourceReader) drop(e *endpoint) {
	if r.engine != nil && e.sources != nil {
		r.engine.SetSources(e.id, nil)
		e.sources = nil
	}
}

// forwarding reports whether a workload has the label of those that forward for others.
func (t *tracked) forwarding() bool {
	on, err := strconv.ParseBool(t.Labels[labelForwarding])
	return err == nil && on
}

// in runs fn with a netlink handle of a namespace; "" is that of the process.
func in(path string, fn func(h *netlink.Handle) error) error {
	if path == "" {
		path = "/proc/self/ns/net"
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink of %s: %w", path, err)
	}
	defer h.Close()
	return fn(h)
}

// addressesOf reads the addresses of a namespace. An address of lo that is not one of loopback is
// the workload's, too.
func addressesOf(path string) (s *own.Set, err error) {
	err = in(path, func(h *netlink.Handle) error {
		list, err := h.AddrList(nil, nl.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", path, err)
		}
		links, err := h.LinkList()
		if err != nil {
			return fmt.Errorf("list interfaces of %s: %w", path, err)
		}
		lo := 0
		var macs []own.MAC
		for _, l := range links {
			at := l.Attrs()
			if at.RawFlags&unix.IFF_LOOPBACK != 0 {
				lo = at.Index
			} else if len(at.HardwareAddr) == 6 {
				macs = append(macs, own.MAC(at.HardwareAddr))
			}
		}
		var addrs []netip.Prefix
		for i := range list {
			a, ok := netip.AddrFromSlice(list[i].IP)
			if !ok || a.IsLoopback() {
				continue
			}
			a = a.Unmap()
			bits, _ := list[i].Mask.Size()
			if list[i].LinkIndex == lo || list[i].Peer != nil && !list[i].Peer.IP.Equal(list[i].IP) {
				bits = a.BitLen()
			}
			addrs = append(addrs, netip.PrefixFrom(a, bits))
		}
		s = own.NewSet(addrs, macs)
		return nil
	})
	return s, err
}

// macsOf reads the MAC addresses of a namespace's interfaces.
func macsOf(path string) (macs map[own.MAC]struct{}, err error) {
	err = in(path, func(h *netlink.Handle) error {
		links, err := h.LinkList()
		if err != nil {
			return fmt.Errorf("list interfaces of %s: %w", path, err)
		}
		macs = make(map[own.MAC]struct{}, len(links))
		for _, l := range links {
			if at := l.Attrs(); len(at.HardwareAddr) == 6 {
				macs[own.MAC(at.HardwareAddr)] = struct{}{}
			}
		}
		return nil
	})
	return macs, err
}
