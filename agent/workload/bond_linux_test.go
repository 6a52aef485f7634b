package workload

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestBonds: the ports of a bond are no interfaces of their own, whatever their kind, but for one that was reported
// before: then all of them are, and carry the bond.
func TestBonds(t *testing.T) {
	at := func(name string, index, master, peer int) netlink.LinkAttrs {
		mac := []byte{2, 0, 0, 0, 0, byte(index)}
		return netlink.LinkAttrs{Name: name, Index: index, MasterIndex: master, NetNsID: peer, RawFlags: unix.IFF_UP, HardwareAddr: mac}
	}
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1, NetNsID: -1, RawFlags: unix.IFF_UP | unix.IFF_LOOPBACK}}
	veth := func(name string, index, master int) netlink.Link {
		return &netlink.Veth{LinkAttrs: at(name, index, master, 0)}
	}
	device := func(name string, index, master int) netlink.Link {
		return &netlink.Device{LinkAttrs: at(name, index, master, -1)}
	}
	bond := &netlink.Bond{LinkAttrs: at("bond0", 9, 0, -1)}
	team := &netlink.GenericLink{LinkAttrs: at("team0", 9, 0, -1), LinkType: "team"}
	addressed, err := netlink.ParseAddr("10.77.0.1/24")
	if err != nil {
		t.Fatal(err)
	}
	addressed.LinkIndex = 9
	for _, tt := range []struct {
		name  string
		links []netlink.Link
		addrs []netlink.Addr
		known []int
		want  string
	}{
		{"two veths", []netlink.Link{veth("eth0", 2, 9), veth("eth1", 3, 9), bond}, []netlink.Addr{*addressed}, nil, "bond0"},
		{"two devices", []netlink.Link{device("eth0", 2, 9), device("eth1", 3, 9), bond}, []netlink.Addr{*addressed}, nil, "bond0"},
		{"team", []netlink.Link{veth("eth0", 2, 9), veth("eth1", 3, 9), team}, []netlink.Addr{*addressed}, nil, "team0"},
		{"before it has an address", []netlink.Link{veth("eth0", 2, 9), veth("eth1", 3, 9), bond}, nil, nil, "bond0"},
		{"as it was reported", []netlink.Link{veth("eth0", 2, 9), veth("eth1", 3, 9), bond}, []netlink.Addr{*addressed}, []int{9}, "bond0"},
		{"of an interface that was there before", []netlink.Link{veth("eth0", 2, 9), veth("eth1", 3, 9), bond}, []netlink.Addr{*addressed}, []int{2}, "eth0 eth1 bond0(eth0)"},
		{"of two", []netlink.Link{veth("eth0", 2, 9), device("eth1", 3, 9), bond}, []netlink.Addr{*addressed}, []int{2, 3, 9}, "eth0 eth1 bond0(eth0)"},
		{"team of one that was there before", []netlink.Link{device("eth0", 2, 9), team}, []netlink.Addr{*addressed}, []int{2}, "eth0 team0(eth0)"},
		{"beside another interface", []netlink.Link{veth("eth0", 2, 9), veth("eth1", 3, 0), bond}, []netlink.Addr{*addressed}, []int{3, 9}, "eth1 bond0"},
	} {
		var known map[int]bool
		for _, i := range tt.known {
			if known == nil {
				known = map[int]bool{}
			}
			known[i] = true
		}
		var got []string
		for _, i := range interfacesOf(append([]netlink.Link{lo}, tt.links...), tt.addrs, known).interfaces {
			name := i.Name
			if i.Inner != "" {
				name += "(" + i.Inner + ")"
			}
			got = append(got, name)
			if i.Name == "eth0" && (len(i.MACs) != 1 || i.MACs[0] != "02:00:00:00:00:09") {
				t.Errorf("%s: MAC addresses above eth0: %v, want the bond's", tt.name, i.MACs)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, s, tt.want)
		}
	}
}
