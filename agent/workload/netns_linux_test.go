package workload_test

import (
	"net"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/internal/netns"
)

// addDummy adds an interface with an address in the current namespace.
func addDummy(ip string) error {
	la := netlink.NewLinkAttrs()
	la.Name = "d0"
	d := &netlink.Bridge{LinkAttrs: la}
	if err := netlink.LinkAdd(d); err != nil {
		return err
	}
	if err := netlink.AddrAdd(d, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip).To4(), Mask: net.CIDRMask(24, 32)}}); err != nil {
		return err
	}
	return netlink.LinkSetUp(d)
}

// recreate deletes a named namespace and makes another one of that name.
func recreate(name string) error {
	if err := netns.Delete(name); err != nil {
		return err
	}
	return netns.Create(name)
}
