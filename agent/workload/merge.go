package workload

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/sluicenet/sluice/internal/netns"
)

// Merge is one Source out of several. A namespace that several of them find is one
// workload: what the first of them says. Workloads in the host's network are told by each.
func Merge(sources ...Source) Source {
	if len(sources) == 1 {
		return sources[0]
	}
	return merged(sources)
}

type merged []Source

// Watch runs every source on a goroutine of its own, which have ended when it returns.
func (m merged) Watch(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		events := make(chan heard)
		for i, s := range m {
			wg.Go(func() {
				for e, err := range s.Watch(ctx) {
					select {
					case events <- heard{i, e, err}:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		j := junction{waiting: len(m), found: map[netns.ID][]heard{}, where: map[string]netns.ID{}}
		for {
			select {
			case <-ctx.Done():
				return
			case h := <-events:
				if h.err != nil {
					yield(Event{}, h.err)
					return
				}
				for _, e := range j.take(h) {
					if !yield(e, nil) {
						return
					}
				}
			}
		}
	}
}

// heard is an event and the number of its source.
type heard struct {
	source int
	Event
	err error
}

// junction decides who speaks for a namespace.
type junction struct {
	waiting int                  // sources that have not told everything yet
	found   map[netns.ID][]heard // by namespace, the source that counts first
	where   map[string]netns.ID  // by workload id
}

// take gives the events that follow from one of a source.
func (j *junction) take(h heard) []Event {
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
		return nil // gone already; its source says so in a moment
	}
	var out []Event
	if before, ok := j.where[id]; ok && before != ns {
		out = j.change(before, id, nil)
	}
	j.where[id] = ns
	return append(out, j.change(ns, id, &h)...)
}

// change puts what a source says of a workload in place of what it said before; nil takes it back.
func (j *junction) change(ns netns.ID, id string, h *heard) []Event {
	list := j.found[ns]
	first := ""
	if len(list) > 0 {
		first = list[0].Workload.ID
	}
	list = slices.DeleteFunc(list, func(x heard) bool { return x.Workload.ID == id })
	if h != nil {
		list = append(list, *h)
		slices.SortStableFunc(list, func(a, b heard) int { return a.source - b.source })
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
