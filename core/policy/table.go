package policy

import (
	"net/netip"
	"time"

	"github.com/gaissmai/bart"

	"github.com/sluicenet/sluice/core/packet"
)

// DefaultHold is how long payload of a pending session is held where the Spec has 0: longer
// than a parser plugin that hangs is waited for, so that the fail mode applies to that.
const DefaultHold = 3 * time.Second

// Table is a compiled Spec. It never changes, so any number of goroutines may read it without
// a lock; a new policy is a new Table.
//
// A look-up goes: peer address -> identity (longest prefix) -> three classes: the rules
// between the workload and everyone, those between everyone and the peer, and those between
// just these two -> the port tables of each class (mostly one at most) -> ordered candidates.
// A port table is searched exact first and range second; the order among rules was resolved
// when it was built.
type Table struct {
	version   uint64
	hosts     hosts               // prefixes of one address
	addresses *bart.Table[uint32] // all the others
	exempt    *bart.Lite          // nil where nothing is exempt
	workloads map[string]*Workload
	overlay
	newcomers map[string]*Workload // by service group; those of a Table without them have no policy
	casts     map[uint32]*rows     // of the identities of multicast and broadcast addresses
	named     map[uint32]bool      // identities that only rules with their name allow

	classes     []class  // the first is empty
	everyone    sides    // classes of everyone's rules with each identity
	classTables []uint32 // of all classes, one after the other: indexes of tables
	tables      []portTable
	exact       exactMap
	segments    []segment   // of all port tables, one after the other
	candidates  []candidate // of all lists; the first is the end of the empty list

	// The part of the Spec that Explain needs; shared with it.
	groups     []GroupSpec
	identities []IdentitySpec
	rules      []RuleSpec
}

// overlay is what is known of addresses beyond one identity for each prefix.
type overlay struct {
	guests   *hosts       // take precedence over all others; nil without
	book     *addressBook // nil where each address has one owner, always the same
	services services     // nil where no address is known to be translated
}

// Workload is the part of a Table for one workload.
type Workload struct {
	table *Table
	spec  WorkloadSpec
	rows  *rows
}

// sides are classes for each identity at the far end, by direction: of a connection out of
// the workload, and of one into it.
type sides struct {
	egress, ingress []uint32
}

// rows are the classes of one workload identity.
type rows struct {
	peers           sides  // between it and each other identity, by that
	egress, ingress uint32 // between it and everyone
}

// class is the port tables to search for one kind of pair of ends.
type class struct {
	first, n uint32 // in Table.classTables
}

// direct marks the number of a class that is just one port table, whose number it is then:
// nearly all are, and it saves two memory accesses.
const direct = 1 << 31

// Version returns the Spec's version.
func (t *Table) Version() uint64 { return t.version }

// Workload returns the workload with an id, nil if the policy has no such workload (it is not
// ready then).
func (t *Table) Workload(id string) *Workload { return t.workloads[id] }

// Identity returns the identity of the longest prefix that contains an address; 0 if none
// does.
func (t *Table) Identity(a packet.Addr, ipv6 bool) uint32 {
	if t.guests != nil {
		if id := t.guests.find(&a, ipv6); id != 0 {
			return id - 1
		}
	}
	if id := t.hosts.find(&a, ipv6); id != 0 {
		return id - 1
	}
	id, _ := t.addresses.Lookup(toNetip(a, ipv6))
	return id
}

func toNetip(a packet.Addr, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte(a[12:]))
}

// ID returns the workload's id.
func (w *Workload) ID() string { return w.spec.ID }

// Identity returns the workload's own identity.
func (w *Workload) Identity() uint32 { return w.spec.Identity }

// Mode returns the mode of the workload's service group.
func (w *Workload) Mode() Mode { return w.spec.Mode }

// OnDeny returns the response to the sender of a denied packet.
func (w *Workload) OnDeny() OnDeny { return w.spec.OnDeny }

// Unready returns what the workload does without a policy.
func (w *Workload) Unready() Unready { return w.spec.Unready }

// Hold returns how long payload of a pending session may be held in protect mode.
func (w *Workload) Hold() time.Duration {
	if w.spec.Hold <= 0 {
		return DefaultHold
	}
	return w.spec.Hold
}

// HoldPass reports whether a session whose hold time expired passes; it is denied otherwise.
func (w *Workload) HoldPass() bool { return w.spec.HoldPass }

// FailClosed reports whether traffic is dropped rather than passed unjudged when the engine
// cannot judge it.
func (w *Workload) FailClosed() bool { return w.spec.FailClosed }

// Quarantined reports whether everything is denied.
func (w *Workload) Quarantined() bool { return w.spec.Quarantined }

// Backend returns the user's choice of datapath for the workload; "" without one.
func (w *Workload) Backend() string { return w.spec.Backend }
