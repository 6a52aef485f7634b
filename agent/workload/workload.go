// Package workload finds the workloads of a node, with their network namespaces, interfaces and
// addresses. Each method of discovery is a Source. It attaches nothing.
package workload

import (
	"context"
	"iter"
	"net/netip"
)

// Workload is one pod sandbox, container or named network namespace.
type Workload struct {
	// ID is stable during the workload's life ("netns:web", a container id).
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"` // "default" where the source has none
	Service   string            `json:"service"`   // Name where the source has none
	Labels    map[string]string `json:"labels,omitempty"`
	Image     string            `json:"image,omitempty"`
	Node      string            `json:"node"`
	// NetNS is the path of its network namespace.
	NetNS      string      `json:"netns"`
	Interfaces []Interface `json:"interfaces"`
	// HostNet reports whether it is in the host's network, where only sockets are watched.
	HostNet bool `json:"host_net,omitempty"`
	// Members are the names of further containers in the same network namespace.
	Members []string `json:"members,omitempty"`
	// Containers are the full ids of the containers in it, its own first; empty if it is no container.
	Containers []string `json:"containers,omitempty"`
	// Source is the name of its source ("netns", "docker").
	Source string `json:"source"`
}

// Group returns the workload's service group, "svc:<namespace>/<service>".
func (w *Workload) Group() string { return "svc:" + w.Namespace + "/" + w.Service }

// Interface is one interface of a workload other than lo.
type Interface struct {
	Name      string         `json:"name"`
	Index     int            `json:"index"`
	MAC       string         `json:"mac"`
	Kind      string         `json:"kind"` // veth, macvlan ...
	Addresses []netip.Prefix `json:"addresses"`
	// LinkLocal are its link-local addresses, which identify nothing beyond its link.
	LinkLocal []netip.Addr `json:"link_local,omitempty"`
	// Inner is the name of the interface below it in the same namespace that carries all its frames;
	// "" if it has traffic of its own. Packet rings see its frames there.
	Inner string `json:"inner,omitempty"`
	// MACs are the MAC addresses other than MAC of interfaces above it in the namespace.
	MACs []string `json:"macs,omitempty"`
}

// EventKind is the kind of an event.
type EventKind uint8

// Kinds of event.
const (
	// Added: a workload is new, or changed (addresses, interfaces, labels).
	Added EventKind = 1 + iota
	// Removed: it has ended; only Workload.ID is valid.
	Removed
	// Noted: Note is a sentence for operators on the subject About; "" clears the previous one.
	Noted
	// Synced: all initial workloads are reported.
	Synced
)

// Event is one change.
type Event struct {
	Kind     EventKind
	Workload Workload
	About    string // with Noted
	Note     string
}

// Source yields the existing workloads, then Synced, then changes, until ctx ends. An error ends the
// sequence.
type Source interface {
	Watch(ctx context.Context) iter.Seq2[Event, error]
}
