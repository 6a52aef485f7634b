package afpacket

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// attached is one of the port's programs at an interface.
type attached struct {
	detacher
	index   int
	prog    *ebpf.Program
	name    string // of the program, in the object
	ingress bool
	id      ebpf.ProgramID // of the program that is attached: prog, or a copy
	moved   int            // times it was put before other programs again
}

// errMissing reports that a program is not where it was attached.
var errMissing = errors.New("program is missing")

// maxMoved is how often a program is put before others again: another program may do the same.
const maxMoved = 5

// attach attaches a program to an interface of the calling thread's namespace.
func (p *port) attach(index int, prog *ebpf.Program, name string, ingress bool) (*attached, error) {
	l := &attached{index: index, prog: prog, name: name, ingress: ingress}
	if err := l.attachFirst(p, prog); err != nil {
		return nil, err
	}
	return l, nil
}

// attachFirst attaches prog, before other programs. What was attached before stays.
func (l *attached) attachFirst(p *port, prog *ebpf.Program) error {
	info, err := prog.Info()
	if err != nil {
		return fmt.Errorf("inspect program: %w", err)
	}
	id, _ := info.ID()
	handle := uint32(filterHandle)
	if f, ok := l.detacher.(*filter); ok && f.handle == filterHandle {
		handle = otherHandle
	}
	d, err := attachProgram(p.cfg.Steering, l.index, prog, l.ingress, handle)
	if err != nil {
		return err
	}
	l.detacher, l.id = d, id
	return nil
}

// place returns the program's place among those at its hook, 0 is the first.
func (l *attached) place() (int, error) {
	if f, ok := l.detacher.(*filter); ok {
		return f.place(l.id)
	}
	at := ebpf.AttachTCXEgress
	if l.ingress {
		at = ebpf.AttachTCXIngress
	}
	list, err := link.QueryPrograms(link.QueryOptions{Target: l.index, Attach: at})
	switch {
	case errors.Is(err, unix.ENODEV):
		return 0, backend.ErrHookGone
	case errors.Is(err, unix.ENOENT):
		return 0, errMissing
	case err != nil:
		return 0, fmt.Errorf("list programs of interface %d: %w", l.index, err)
	}
	if i := slices.IndexFunc(list.Programs, func(x link.AttachedProgram) bool { return x.ID == l.id }); i >= 0 {
		return i, nil
	}
	return 0, errMissing
}

// place is attached.place for a filter.
func (f *filter) place(id ebpf.ProgramID) (int, error) {
	dev := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: f.index}}
	if _, err := netlink.LinkByIndex(f.index); err != nil {
		return 0, backend.ErrHookGone
	}
	list, err := netlink.FilterList(dev, f.parent)
	if err != nil {
		return 0, errMissing // without the qdisc there is no list
	}
	i := slices.IndexFunc(list, func(x netlink.Filter) bool {
		b, ok := x.(*netlink.BpfFilter)
		return ok && b.Handle == f.handle && b.Priority == filterPrio && b.Id == int(id)
	})
	if i < 0 {
		return 0, errMissing
	}
	return i, nil
}

// mend checks that the program is attached before all others, attaches it again if it is not,
// and returns what it found.
func (l *attached) mend(p *port) (what string, err error) {
	at, err := l.place()
	side := "egress"
	if l.ingress {
		side = "ingress"
	}
	switch {
	case errors.Is(err, errMissing):
		_ = l.Close()
		return "program removed from " + side, l.attachFirst(p, l.prog)
	case err != nil:
		return "", err
	case at == 0:
		return "", nil
	case l.moved >= maxMoved:
		return "", fmt.Errorf("another program was put before Sluice's at %s %d times: frames that it accepts there pass without a verdict; remove it", side, l.moved)
	}
	l.moved++
	return "another program was put first at " + side, l.first(p)
}

// first puts the program before others: a copy is attached before the present one is
// detached, so that no frame meets none.
func (l *attached) first(p *port) error {
	spec, err := loadSteer()
	if err != nil {
		return fmt.Errorf("read steering programs: %w", err)
	}
	if err := setVariables(spec.Variables, p.ours, p.cfg); err != nil {
		return err
	}
	for name := range spec.Programs {
		if name != l.name {
			delete(spec.Programs, name)
		}
	}
	o := &p.objs.steerMaps
	maps := map[string]*ebpf.Map{
		steerMapArrived: o.Arrived, steerMapControl: o.Control, steerMapCounters: o.Counters, steerMapDropped: o.Dropped, steerMapEndpoints: o.Endpoints,
		steerMapFlows: o.Flows, steerMapHooks: o.Hooks, steerMapOuter: o.Outer, steerMapSenders: o.Senders, steerMapUnjudged: o.Unjudged,
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return fmt.Errorf("load copy of steering program: %w", err)
	}
	defer c.Close() // the hook has its own reference
	before := l.detacher
	if err := l.attachFirst(p, c.Programs[l.name]); err != nil {
		return err
	}
	if f, ok := before.(*filter); ok {
		return f.removeFilter()
	}
	return before.Close()
}

// inspect checks an endpoint's entries and programs, and repairs them; it runs in the hook's
// namespace. The backend's lock is held.
func (a *inlineAttachment) inspect(now time.Time) {
	r := a.port.repairs
	add := func(part, detail string, passed bool, err error) {
		if detail != "" || err != nil || r.Broken(part, a.ep.Hook.Interface, a.ep.ID) {
			r.Add(backend.Repair{Part: part, Endpoint: a.ep.ID, Interface: a.ep.Hook.Interface, Detail: detail, Passed: passed, Sound: a.sound, At: time.Now(), Err: err})
		}
	}
	detail, err := a.mendEntries()
	add(backend.PartMap, detail, detail != "", err)
	var found []string
	var perr error
	for _, l := range a.links {
		what, err := l.mend(a.port)
		if errors.Is(err, backend.ErrHookGone) {
			r.Add(backend.Repair{Part: backend.PartHook, Endpoint: a.ep.ID, Interface: a.ep.Hook.Interface, Detail: "removed, or moved to another namespace", Sound: a.sound, At: now, Err: err})
			return
		}
		if what != "" {
			found = append(found, what)
		}
		perr = errors.Join(perr, err)
	}
	add(backend.PartProgram, strings.Join(found, ", "), len(found) > 0, perr)
	if err == nil && perr == nil {
		a.sound = now
	}
}

// mendEntries restores the endpoint's entries in the maps, and returns what it found.
func (a *inlineAttachment) mendEntries() (what string, err error) {
	objs := &a.port.objs
	back, hook := a.entries()
	var haveBack steerEndpoint
	var haveHook steerHook
	var haveMissed steerMissed
	if objs.Endpoints.Lookup(a.ep.ID, &haveBack) != nil || haveBack != back {
		what = "entry of endpoints changed"
		err = objs.Endpoints.Put(a.ep.ID, back)
	}
	if objs.Hooks.Lookup(uint32(a.index), &haveHook) != nil || configured(haveHook) != hook {
		what = "entry of hooks changed"
		err = errors.Join(err, objs.Hooks.Put(uint32(a.index), hook))
	}
	if objs.Unjudged.Lookup(a.ep.ID, &haveMissed) != nil {
		what = "counters removed"
		delete(a.port.missed.heartbeat, a.ep.ID)
		err = errors.Join(err, objs.Unjudged.Put(a.ep.ID, steerMissed{}))
	}
	return what, err
}

// configured returns a hook's entry without what the programs change in it: its shares.
func configured(h steerHook) steerHook {
	return steerHook{Id: h.Id, Mark: h.Mark, Mac: h.Mac, Side: h.Side, Fail: h.Fail, Off: h.Off}
}

// entries returns the endpoint's entries of the maps.
func (a *inlineAttachment) entries() (steerEndpoint, steerHook) {
	side := uint8(a.ep.Hook.Side)
	return steerEndpoint{Ifindex: uint32(a.index), Mark: a.mark, Mac: a.ep.MAC, Side: side},
		steerHook{Id: a.ep.ID, Mark: a.mark, Mac: a.ep.MAC, Side: side, Fail: uint8(a.ep.Fail)}
}
