package workload

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/sluicenet/sluice/internal/netns"
)

// Merge merges several Sources into one. A namespace of several is one workload: that of the first.
// Workloads in the host's network are not merged.
func Merge(sources ...Source) Source {
	if len(sources) == 1 {
		return sources[0]
	}
	return merged(sources)
}

type merged []Source

// Watch runs every source on a goroutine of its own; all have ended when it returns.
func (m merged) Watch(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		events := make(chan sourceEvent)
		for i, s := range m {
			wg.Go(func() {
				for e, err := range s.Watch(ctx) {
					select {
					case events <- sourceEvent{i, e, err}:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		j := junction{waiting: len(m), found: map[netns.ID][]sourceEvent{}, where: map[string]netns.ID{}}
		for {
			select {
			case <-ctx.Done():
				return
			case h := <-events:
				if h.err != nil {
					yield(Event{}, h.err)
					return
				}
				for _, e := range j.handleEvent(h) {
					if !yield(e, nil) {
						return
					}
				}
			}
		}
	}
}

// sourceEvent is an event and the index of its source.
type sourceEvent struct {
	source int
	Event
	err error
}

// junction chooses the source of each namespace.
type junction struct {
	waiting int                        // sources that are not synced yet
	found   map[netns.ID][]sourceEvent // by namespace, the source with precedence first
	where   map[string]netns.ID        // by workload id
}

// handleEvent returns the events that result from one of a source.
func (j *junction) handleEvent(h sourceEvent) []Event {
	id := h.Workload.ID
	switch h.Kind {
	case Synced:
		if j.waiting--; j.waiting == 0 {
			return []Event{h.Event}
		}
		return nil
	case Noted:
		return []Event{h.Event}
	case Removed:
		ns, ok := j.where[id]
		if !ok {
			return []Event{h.Event}
		}
		delete(j.where, id)
		return j.change(ns, id, nil)
	}
	if h.Workload.HostNet {
		return []Event{h.Event}
	}
	ns, err := netns.Identity(h.Workload.NetNS)
	if err != nil {
		return nil // ended already; its source reports that soon
	}
	var out []Event
	if before, ok := j.where[id]; ok && before != ns {
		out = j.change(before, id, nil)
	}
	j.where[id] = ns
	return append(out, j.change(ns, id, &h)...)
}

// change replaces a source's previous event on a workload; nil deletes it.
func (j *junction) change(ns netns.ID, id string, h *sourceEvent) []Event {
	list := j.found[ns]
	first := ""
	if len(list) > 0 {
		first = list[0].Workload.ID
	}
	list = slices.DeleteFunc(list, func(x sourceEvent) bool { return x.Workload.ID == id })
	if h != nil {
		list = append(list, *h)
		slices.SortStableFunc(list, func(a, b sourceEvent) int { return a.source - b.source })
	}
	if j.found[ns] = list; len(list) == 0 {
		delete(j.found, ns)
	}
	var out []Event
	if first != "" && (len(list) == 0 || list[0].Workload.ID != first) {
		out = append(out, Event{Kind: Removed, Workload: Workload{ID: first}})
	}
	if len(list) > 0 && (list[0].Workload.ID != first || list[0].Workload.ID == id) {
		out = append(out, list[0].Event)
	}
	return out
}
