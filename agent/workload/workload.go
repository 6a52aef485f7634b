// Package workload finds the workloads of a node: what runs, in which network
// namespace, with which interfaces and addresses. Each way of finding them is a
// Source. It attaches nothing.
package workload

import (
	"context"
	"iter"
	"net/netip"
)

// Workload is one pod sandbox, container or named network namespace.
type Workload struct {
	// ID is stable while the workload lives ("netns:web", a container id).
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
	// HostNet: it lives in the network of its host, whose sockets are all that is watched.
	HostNet bool `json:"host_net,omitempty"`
	// Members are the names of further containers in the same network namespace.
	Members []string `json:"members,omitempty"`
	// Containers are the whole ids of the containers in it, its own first; empty where it is no container.
	Containers []string `json:"containers,omitempty"`
	// Source says who found it ("netns", "docker").
	Source string `json:"source"`
}

// Group is the workload's service group, "svc:<namespace>/<service>".
func (w *Workload) Group() string { return "svc:" + w.Namespace + "/" + w.Service }

// Interface is one interface of a workload but lo.
type Interface struct {
	Name      string         `json:"name"`
	Index     int            `json:"index"`
	MAC       string         `json:"mac"`
	Kind      string         `json:"kind"` // veth, macvlan ...
	Addresses []netip.Prefix `json:"addresses"`
}

// EventKind is what happened.
type EventKind uint8

// Kinds of event.
const (
	// Added: a workload is there, or changed (addresses, interfaces, labels).
	Added EventKind = 1 + iota
	// Removed: it is gone; only Workload.ID is valid.
	Removed
	// Noted: there is something to tell people, About something; Note is the sentence, and "" takes the
	// one before back.
	Noted
	// Synced: everything that existed at the beginning has been told.
	Synced
)

// Event is one change.
type Event struct {
	Kind     EventKind
	Workload Workload
	About    string // with Noted
	Note     string
}

// Source tells what exists, then Synced, then changes, until ctx ends. An error
// ends the sequence.
type Source interface {
	Watch(ctx context.Context) iter.Seq2[Event, error]
}
