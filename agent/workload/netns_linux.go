package workload

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	nsdo "github.com/sluicenet/sluice/internal/netns"
)

// errNotNamespace means that a file has no namespace mounted on it (yet).
var errNotNamespace = errors.New("not a network namespace")

// nsInode returns the inode number of the namespace mounted at path, which identifies it even if its name
// is reused.
func nsInode(path string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, err
	}
	if fs.Type != unix.NSFS_MAGIC {
		return 0, errNotNamespace
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// openNS opens the namespace at path if it is still the one with that inode.
func openNS(path string, ino uint64) (netns.NsHandle, error) {
	h, err := netns.GetFromPath(path)
	if err != nil {
		return h, fmt.Errorf("open namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(h), &st); err != nil || st.Ino != ino {
		h.Close()
		return netns.None(), fmt.Errorf("open namespace: %w", os.ErrNotExist)
	}
	return h, nil
}

// inspect lists the interfaces but lo that have an address other than link-local, and
// reports whether the namespace is the host side of others.
func inspect(path string, ino uint64) (ifs []Interface, host bool, err error) {
	links, addrs, err := read(path, ino)
	if err != nil {
		return nil, false, err
	}
	return addressed(links, addrs), isHost(path, links), nil
}

// inspectUp lists the interfaces that inspect lists, but for those that are down: a runtime brings an
// interface up when it has all its addresses.
func inspectUp(path string, ino uint64) ([]Interface, error) {
	links, addrs, err := read(path, ino)
	if err != nil {
		return nil, err
	}
	return addressed(slices.DeleteFunc(links, func(l netlink.Link) bool { return l.Attrs().RawFlags&unix.IFF_UP == 0 }), addrs), nil
}

// read reads the interfaces and addresses of the namespace at path if it is still the one
// with that inode.
func read(path string, ino uint64) ([]netlink.Link, []netlink.Addr, error) {
	ns, err := openNS(path, ino)
	if err != nil {
		return nil, nil, err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, nil, fmt.Errorf("list addresses: %w", err)
	}
	return links, addrs, nil
}

// addressed lists the interfaces but lo that have an address other than link-local. Addresses on lo
// that are reached from outside (virtual addresses of a service, anycast) are listed with the first of
// them: they are the workload's, whichever interface the frames for them take.
func addressed(links []netlink.Link, addrs []netlink.Addr) []Interface {
	by, local := map[int][]netip.Prefix{}, map[int][]netip.Addr{}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); !ok || ip.IsLoopback() {
			continue
		}
		if ip.IsLinkLocalUnicast() {
			local[a.LinkIndex] = append(local[a.LinkIndex], ip)
			continue
		}
		ones, _ := a.Mask.Size()
		by[a.LinkIndex] = append(by[a.LinkIndex], netip.PrefixFrom(ip, ones))
	}
	var out []Interface
	var virtual []netip.Prefix
	for _, l := range links {
		at := l.Attrs()
		ps := by[at.Index]
		if at.RawFlags&unix.IFF_LOOPBACK != 0 {
			for _, p := range ps {
				virtual = append(virtual, netip.PrefixFrom(p.Addr(), p.Addr().BitLen())) // no subnet is behind lo
			}
			continue
		}
		if len(ps) == 0 {
			continue
		}
		out = append(out, Interface{Name: at.Name, Index: at.Index, MAC: at.HardwareAddr.String(), Kind: l.Type(), Addresses: ps, LinkLocal: local[at.Index]})
	}
	slices.SortFunc(out, func(a, b Interface) int { return a.Index - b.Index })
	if len(out) > 0 {
		out[0].Addresses = append(out[0].Addresses, virtual...)
	}
	for i := range out {
		slices.SortFunc(out[i].Addresses, netip.Prefix.Compare)
		out[i].Addresses = slices.Compact(out[i].Addresses)
		slices.SortFunc(out[i].LinkLocal, netip.Addr.Compare)
	}
	return out
}

// isHost reports whether a namespace carries the traffic of others: a bridge that joins veths of
// other namespaces, or forwarding between at least two of them.
func isHost(path string, links []netlink.Link) bool {
	bridges, outward := map[int]bool{}, 0
	for _, l := range links {
		if l.Type() == "bridge" {
			bridges[l.Attrs().Index] = true
		}
	}
	for _, l := range links {
		if l.Type() != "veth" || l.Attrs().NetNsID < 0 {
			continue
		}
		if bridges[l.Attrs().MasterIndex] {
			return true
		}
		outward++
	}
	return outward > 1 && forwards(path)
}

// forwards reports whether a namespace forwards IPv4 or IPv6.
func forwards(path string) bool {
	on := false
	_ = nsdo.Do(path, func() error {
		for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			b, err := os.ReadFile("/proc/sys/net/" + f)
			on = on || err == nil && strings.TrimSpace(string(b)) == "1"
		}
		return nil
	})
	return on
}
