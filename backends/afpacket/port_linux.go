package afpacket

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// port is the service port of one namespace with hooks: interfaces, programs and maps. The
// backend's lock guards it; its queue belongs to a worker.
type port struct {
	cfg   Config
	id    netns.ID
	ns    *os.File // keeps the namespace reachable, whatever becomes of the path
	objs  steerObjects
	links []*attached
	up    bool
	ours  int // the number of the near end
	queue *inline

	attached map[uint32]*inlineAttachment
	hooked   map[int]uint32       // interface number to endpoint
	retired  map[uint32]time.Time // detached endpoints that may have frames in the ring

	missed missed

	guard   atomic.Pointer[guard] // nil where events are unavailable
	asked   atomic.Bool           // the worker requests a check
	repairs *backend.Repairs
	sound   time.Time // when the port was last found as it is to be

	pathsRead time.Time // when refreshPaths did

	linger *time.Timer // closes the port while nothing is attached; nil otherwise
	uses   int         // incremented at each attach and detach
}

// retireAfter is how long a detached endpoint is kept.
const retireAfter = 2 * time.Second

// openPort creates a service port; on error nothing is left.
func openPort(path string, id netns.ID, cfg Config, repairs *backend.Repairs) (_ *port, err error) {
	p := &port{cfg: cfg, repairs: repairs, sound: time.Now(), id: id, attached: map[uint32]*inlineAttachment{}, hooked: map[int]uint32{}, retired: map[uint32]time.Time{},
		missed: missed{heartbeat: map[uint32]steerMissed{}, large: map[uint32][2]uint64{}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.ns, err = netns.Open(path); err != nil {
		return nil, err
	}
	return p, p.do(p.setUp)
}

// do runs fn inside the port's namespace.
func (p *port) do(fn func() error) error {
	return netns.Do(fmt.Sprintf("/proc/self/fd/%d", p.ns.Fd()), fn)
}

// setUp creates everything, the links coming up last.
func (p *port) setUp() error {
	ours, engines, err := addPort(0)
	if err != nil {
		return err
	}
	p.up, p.ours = true, ours
	if err := p.load(ours); err != nil {
		return err
	}
	if p.queue, err = openInline(engines, p.objs.Control, p.cfg); err != nil {
		return err
	}
	p.queue.unbound = p.ask
	return p.linkUp(engines)
}

// linkUp attaches the port's own programs and sets its ends up.
func (p *port) linkUp(engines int) error {
	for _, at := range []struct {
		index   int
		prog    *ebpf.Program
		name    string
		ingress bool
	}{{p.ours, p.objs.GiveBack, steerProgGiveBack, true}, {engines, p.objs.Sink, steerProgSink, true}, {engines, p.objs.Wrap, steerProgWrap, false}} {
		l, err := p.attach(at.index, at.prog, at.name, at.ingress)
		if err != nil {
			return err
		}
		p.links = append(p.links, l)
	}
	// The near end last: the end that completes the pair can send at once, the other one's queue
	// is switched on a moment later, and the packet socket bypasses it.
	for _, index := range []int{engines, p.ours} {
		if err := netlink.LinkSetUp(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}); err != nil {
			return fmt.Errorf("bring service port up: %w", err)
		}
	}
	p.queue.clearErrors()
	return nil
}

// load loads the programs and maps into the kernel.
func (p *port) load(ours int) error {
	spec, err := loadSteer()
	if err != nil {
		return fmt.Errorf("read steering programs: %w", err)
	}
	if err := setVariables(spec.Variables, ours, p.cfg); err != nil {
		return err
	}
	if err := spec.LoadAndAssign(&p.objs, nil); err != nil {
		if errors.Is(err, ebpf.ErrNotSupported) {
			err = fmt.Errorf("%w: %w", backend.ErrUnsupported, err)
		}
		return fmt.Errorf("load steering programs: %w", err)
	}
	return nil
}

// usable reports whether endpoints can be attached: the port was not removed.
func (p *port) usable() bool { return p.queue.isOpen() && !p.queue.lost.Load() }

// drain lets the worker, if there is one, settle the frames in the ring.
func (p *port) drain() {
	const patience = 300 * time.Millisecond
	if !p.queue.isOpen() || !p.queue.pulse.active() {
		return
	}
	p.queue.drain()
	select {
	case <-p.queue.drained:
	case <-time.After(patience):
	}
}

// close removes everything, also after half a setUp.
func (p *port) close() error {
	var errs []error
	if g := p.guard.Load(); g != nil {
		errs = append(errs, g.events.Close())
	}
	if p.queue != nil {
		errs = append(errs, p.queue.Close())
	}
	if p.up {
		errs = append(errs, p.do(func() error {
			var errs []error
			for _, l := range p.links {
				errs = append(errs, l.Close())
			}
			return errors.Join(append(errs, removePort())...)
		}))
	}
	if p.objs.Control != nil {
		errs = append(errs, p.objs.Close())
	}
	if p.ns != nil {
		errs = append(errs, p.ns.Close())
	}
	return errors.Join(errs...)
}

// dropRetired drops detached endpoints whose frames must have arrived by now.
func (p *port) dropRetired() {
	for id, at := range p.retired {
		if time.Since(at) > retireAfter {
			delete(p.retired, id)
			_ = p.objs.Endpoints.Delete(id)
			p.queue.endpoints.remove(id)
			delete(p.missed.large, id)
		}
	}
}

// counterNames are the names of the steering program's counters, in its order.
var counterNames = [...]string{
	steerCounterSTEERED: "steered", steerCounterRETURNED: "returned",
	steerCounterBYPASSED: "bypassed", steerCounterSTOPPED: "stopped",
	steerCounterSPOOFED: "spoofed",
	steerCounterFORGED:  "forged", steerCounterUNKNOWN: "unknown",
	steerCounterFLOODED: "flooded", steerCounterCROWDED: "crowded",
}

// counters adds the port's counters to sum.
func (p *port) counters(sum *[len(counterNames)]uint64) error {
	var perCPU []uint64
	for i := range counterNames {
		if err := p.objs.Counters.Lookup(steerCounter(i), &perCPU); err != nil {
			return fmt.Errorf("read counter %s: %w", counterNames[i], err)
		}
		for _, n := range perCPU {
			sum[i] += n
		}
	}
	return nil
}

// monotonic returns a reading of CLOCK_MONOTONIC, which BPF programs read too, and the
// corresponding time.Time: later readings need no system call.
type monotonic struct {
	at   time.Time
	base uint64
}

func newMonotonic() monotonic {
	var ts unix.Timespec
	m := monotonic{at: time.Now()}
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) == nil {
		m.base = uint64(ts.Nano())
	}
	return m
}
