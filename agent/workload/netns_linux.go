package workload

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
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

// inspect returns the contents of a namespace. before is the workload that was reported of it, nil for none. With
// up, interfaces that are down are left out unless they were reported before: a runtime brings an
// interface up when it has all its addresses.
func inspect(path string, ino uint64, before *Workload, up bool) (contents, error) {
	links, addrs, err := read(path, ino)
	if err != nil {
		return contents{}, err
	}
	known := indexes(before)
	if up {
		links = slices.DeleteFunc(links, func(l netlink.Link) bool {
			return l.Attrs().RawFlags&unix.IFF_UP == 0 && !known[l.Attrs().Index]
		})
	}
	return interfacesOf(links, addrs, known), nil
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
