package afpacket

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// detacher detaches a program from an interface. Close runs in the interface's namespace.
type detacher interface{ Close() error }

// attachProgram attaches prog to an interface of the calling thread's namespace, before other
// programs, which keep running.
func attachProgram(how Steering, index int, prog *ebpf.Program, ingress bool, handle uint32) (detacher, error) {
	if how != SteerClsact {
		at := ebpf.AttachTCXEgress
		if ingress {
			at = ebpf.AttachTCXIngress
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: prog, Attach: at, Anchor: link.Head()})
		switch {
		case err == nil:
			return l, nil
		case how == SteerTCX || !errors.Is(err, ebpf.ErrNotSupported):
			return nil, fmt.Errorf("attach program to interface %d: %w", index, err)
		}
	}
	f := &filter{index: index, handle: handle, parent: netlink.HANDLE_MIN_EGRESS}
	if ingress {
		f.parent = netlink.HANDLE_MIN_INGRESS
	}
	if err := f.add(prog); err != nil {
		return nil, fmt.Errorf("attach filter to interface %d: %w", index, err)
	}
	return f, nil
}

// The position among the filters of a clsact qdisc: one that a killed process left is
// replaced.
const (
	filterName   = "sluice"
	filterPrio   = 1
	filterHandle = 0x534c
	otherHandle  = 0x534d // of one that replaces it
)

// filter is a program on a clsact qdisc, for kernels without tcx.
type filter struct {
	index  int
	parent uint32
	handle uint32
}

func (f *filter) spec(fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: f.index, Parent: f.parent, Handle: f.handle, Priority: filterPrio, Protocol: unix.ETH_P_ALL},
		Fd:          fd, Name: filterName, DirectAction: true,
	}
}

func (f *filter) qdisc() *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: f.index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

func (f *filter) add(prog *ebpf.Program) error {
	switch err := netlink.QdiscAdd(f.qdisc()); {
	case err == nil:
		// Owned from now on.
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: clsact: %w", backend.ErrUnsupported, err)
	case !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("add clsact: %w", err)
	}
	if err := netlink.FilterReplace(f.spec(prog.FD())); err != nil {
		f.removeQdisc()
		return fmt.Errorf("add bpf filter: %w", err)
	}
	return nil
}

// Close removes the filter, and the qdisc once it is empty.
func (f *filter) Close() error {
	err := f.removeFilter()
	f.removeQdisc()
	return err
}

func (f *filter) removeFilter() error {
	err := netlink.FilterDel(f.spec(-1))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		err = nil // the interface or the qdisc is gone
	}
	if err != nil {
		return fmt.Errorf("remove filter from interface %d: %w", f.index, err)
	}
	return nil
}

// removeQdisc removes a qdisc without filters, of this process or of a killed one: an empty
// one has no effect.
func (f *filter) removeQdisc() {
	dev := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: f.index}}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		if left, err := netlink.FilterList(dev, parent); err != nil || len(left) > 0 {
			return
		}
	}
	_ = netlink.QdiscDel(f.qdisc())
}
