package backend

import (
	"errors"
	"time"
)

// Repair is a change that something else made to a part of a backend, and what became of it.
// One that could not be undone has an Err, and is followed by one without when it is.
type Repair struct {
	// Part is one of the constants below.
	Part string
	// Endpoint is the engine's number; 0 where the part serves several endpoints.
	Endpoint uint32
	// Interface is where the part is; "" where it is on none.
	Interface string
	// Detail is what was found, for operators.
	Detail string
	// Passed reports that frames may have passed without a verdict, and uncounted, also in
	// groups that fail closed. Otherwise they followed the fail mode.
	Passed bool
	// Sound is when the part was last seen as it is to be, At when it was so again, or when the
	// repair failed.
	Sound, At time.Time
	// Err is why it could not be repaired: ErrHookGone where the endpoint must be attached again.
	Err error
}

// Parts of backends, as in Repair.
const (
	PartPort    = "port"    // the service port
	PartProgram = "program" // a BPF program at an interface
	PartMap     = "map"     // an entry of a BPF map
	PartHook    = "hook"    // the interface that frames are steered from
	PartRules   = "rules"   // the rules of netfilter queues
)

// Parts returns all parts.
func Parts() []string { return []string{PartPort, PartProgram, PartMap, PartHook, PartRules} }

// ErrHookGone reports that the interface from which frames are steered is no longer in its
// namespace.
var ErrHookGone = errors.New("its interface is gone from the namespace")

// Repairer is a backend that watches its own parts. Both methods may be called from any
// goroutine.
type Repairer interface {
	// Repaired is signalled when TakeRepairs has something to return.
	Repaired() <-chan struct{}
	// TakeRepairs returns the repairs since the last call, the oldest first.
	TakeRepairs() []Repair
}

// maxRepairs bounds the repairs that wait for TakeRepairs.
const maxRepairs = 1024

// Repairs collects repairs for a Repairer. The zero value is not ready: use NewRepairs. It is
// not safe for concurrent use, except for Repaired.
type Repairs struct {
	list []Repair
	wake chan struct{}
	// broken are the errors that were reported, by part and endpoint.
	broken map[repairKey]string
}

type repairKey struct {
	part, iface string
	endpoint    uint32
}

// NewRepairs returns an empty collection.
func NewRepairs() *Repairs {
	return &Repairs{wake: make(chan struct{}, 1), broken: map[repairKey]string{}}
}

// Repaired is signalled after Add.
func (r *Repairs) Repaired() <-chan struct{} { return r.wake }

// Add adds a repair; an error that was reported before is not reported again. Beyond a bound,
// the oldest are dropped.
func (r *Repairs) Add(x Repair) {
	k := repairKey{x.Part, x.Interface, x.Endpoint}
	if x.Err != nil {
		if r.broken[k] == x.Err.Error() {
			return
		}
		r.broken[k] = x.Err.Error()
	} else {
		delete(r.broken, k)
	}
	if len(r.list) >= maxRepairs {
		r.list = append(r.list[:0], r.list[1:]...)
	}
	r.list = append(r.list, x)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Broken reports whether a part was reported with an error and not as repaired since.
func (r *Repairs) Broken(part, iface string, endpoint uint32) bool {
	_, ok := r.broken[repairKey{part, iface, endpoint}]
	return ok
}

// Forget drops what is known of an endpoint that was detached.
func (r *Repairs) Forget(endpoint uint32) {
	for k := range r.broken {
		if k.endpoint == endpoint {
			delete(r.broken, k)
		}
	}
}

// Take returns the repairs since the last call.
func (r *Repairs) Take() []Repair {
	out := r.list
	r.list = nil
	return out
}
