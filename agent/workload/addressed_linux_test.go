package workload

import (
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestAddressesOnLo are the workload's, except those that are unreachable from outside.
func TestAddressesOnLo(t *testing.T) {
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1, RawFlags: unix.IFF_UP | unix.IFF_LOOPBACK, Flags: net.FlagUp | net.FlagLoopback}}
	eth0 := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", Index: 2, RawFlags: unix.IFF_UP}}
	tun0 := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0", Index: 3, RawFlags: unix.IFF_UP | unix.IFF_POINTOPOINT, Flags: net.FlagUp | net.FlagPointToPoint}}
	links := []netlink.Link{lo, eth0, tun0}
	on := func(index int, cidr string) netlink.Addr {
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			t.Fatal(err)
		}
		a.LinkIndex = index
		return *a
	}
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		addrs []netlink.Addr
		want  map[string][]netip.Prefix
	}{
		{"loopback only", []netlink.Addr{on(1, "127.0.0.1/8"), on(1, "::1/128"), on(1, "169.254.1.1/32"), on(1, "fe80::1/64"), on(2, "10.77.0.2/24")},
			map[string][]netip.Prefix{"eth0": prefixes("10.77.0.2/24")}},
		{"virtual addresses", []netlink.Addr{on(1, "127.0.0.1/8"), on(1, "10.77.0.200/32"), on(1, "fd77::200/64"), on(2, "10.77.0.2/24"), on(2, "fd77::2/64")},
			map[string][]netip.Prefix{"eth0": prefixes("10.77.0.2/24", "10.77.0.200/32", "fd77::2/64", "fd77::200/128")}},
		{"several interfaces", []netlink.Addr{on(3, "10.99.0.1/24"), on(1, "10.77.0.200/32"), on(2, "10.77.0.2/24")},
			map[string][]netip.Prefix{"eth0": prefixes("10.77.0.2/24", "10.77.0.200/32"), "tun0": prefixes("10.99.0.1/24")}},
	} {
		got := map[string][]netip.Prefix{}
		for _, i := range interfacesOf(links, tt.addrs, nil).interfaces {
			got[i.Name] = i.Addresses
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
