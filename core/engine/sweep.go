package engine

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/session"
)

// sweeper judges the sessions that were judged by an older policy again, and those whose client
// is not known for sure, some with each
// batch, so that a change reaches idle sessions too and no batch waits for it.
type sweeper struct {
	refs []uint32 // sessions still to be looked at
	due  bool
}

// begin starts a sweep over everything.
func (sw *sweeper) begin() { sw.due = true }

// sweepSome goes on with a sweep.
func (w *worker) sweepSome() {
	sw := &w.sweep
	if sw.due {
		sw.due = false
		sw.refs = sw.refs[:0]
		w.table.Each(func(s *session.Session) bool {
			if s.Generation != w.snap.version || s.Flags&flagEither != 0 {
				sw.refs = append(sw.refs, w.table.Ref(s))
			}
			return true
		})
	}
	n := min(len(sw.refs), sweepBatch)
	for _, ref := range sw.refs[len(sw.refs)-n:] {
		s := w.table.At(ref)
		if s == nil || s.Generation == w.snap.version && s.Flags&flagEither == 0 {
			continue
		}
		if s.State.Over() {
			// What has ended breaks no policy that came later.
			s.Generation = w.snap.version
			continue
		}
		v := w.snap.endpoints[s.Key.Endpoint]
		if v == nil {
			continue
		}
		w.reconsider(v, s)
		w.evaluate(v, s)
		if id := w.identOf(s); id != nil && len(id.held) > 0 {
			if flow.Verdict(s.Verdict) != flow.Pending {
				w.settleHeld(s, id)
			}
		}
	}
	sw.refs = sw.refs[:len(sw.refs)-n]
	if len(sw.refs) > 0 {
		w.q.Wake()
	}
}
