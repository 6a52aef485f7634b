package wire

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// end is the other end of a veth.
type end struct {
	found bool
	path  string // "" is our own namespace
	id    netns.ID
	name  string
	index int
}

// maxRecent bounds the namespaces that are searched first.
const maxRecent = 8

// peer finds the other end of the veth with an index in the namespace at path. IFLA_LINK is the
// peer's index and IFLA_LINK_NETNSID its namespace by a number that only the workload's
// namespace knows; RTM_GETNSID there gives each candidate's number to compare with.
func (f *Finder) peer(path string, index int) (end, error) {
	ns, err := vns.GetFromPath(path)
	if err != nil {
		return end{}, fmt.Errorf("open namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return end{}, fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	l, err := h.LinkByIndex(index)
	if err != nil {
		return end{}, err
	}
	at := l.Attrs()
	if at.NetNsID < 0 {
		return end{path: path, index: at.ParentIndex}.confirm(index)
	}
	tried := map[netns.ID]bool{}
	for candidate := range f.candidates {
		id, err := netns.Identity(candidate)
		if err != nil || tried[id] {
			continue
		}
		tried[id] = true
		if is, err := hasNumber(h, candidate, at.NetNsID); err != nil || !is {
			continue
		}
		e, err := end{path: candidate, id: id, index: at.ParentIndex}.confirm(index)
		if err != nil || e.found {
			f.remember(candidate)
			return e, err
		}
	}
	return end{}, nil
}

// confirm checks the peer in its namespace: it must be a veth that points back.
func (e end) confirm(back int) (end, error) {
	id, err := netns.Identity(e.path)
	if err != nil {
		return end{}, err
	}
	e.id = id
	err = netns.Do(e.path, func() error {
		l, err := netlink.LinkByIndex(e.index)
		if err != nil {
			return err
		}
		e.name = l.Attrs().Name
		e.found = l.Type() == "veth" && l.Attrs().ParentIndex == back
		return nil
	})
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return end{}, nil
	}
	return e, err
}

// hasNumber reports whether the namespace at path has number id in the namespace of h.
func hasNumber(h *netlink.Handle, path string, id int) (bool, error) {
	file, err := netns.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	n, err := h.GetNetNsIdByFd(int(file.Fd()))
	return n == id, err
}

// candidates yields the paths of namespaces where a peer may be: ours, those where peers were
// found before, the named ones, and on demand those of all processes.
func (f *Finder) candidates(yield func(string) bool) {
	if !yield("") {
		return
	}
	f.mu.Lock()
	recent := slices.Clone(f.recent)
	f.mu.Unlock()
	for _, p := range recent {
		if !yield(p) {
			return
		}
	}
	dirs := []string{filepath.Join(netns.Dir, "*")}
	if f.Processes {
		dirs = append(dirs, "/proc/[0-9]*/ns/net")
	}
	for _, d := range dirs {
		paths, _ := filepath.Glob(d)
		for _, p := range paths {
			if !yield(p) {
				return
			}
		}
	}
}

// remember moves a namespace to the front for the next search. Paths of processes are not kept: their
// numbers are reused.
func (f *Finder) remember(path string) {
	if path == "" || filepath.Dir(path) != netns.Dir {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent = slices.DeleteFunc(f.recent, func(p string) bool {
		_, err := os.Stat(p)
		return p == path || err != nil
	})
	f.recent = slices.Insert(f.recent, 0, path)
	if len(f.recent) > maxRecent {
		f.recent = f.recent[:maxRecent]
	}
}
