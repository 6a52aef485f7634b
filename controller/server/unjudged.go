package server

import (
	"fmt"
	"maps"
	"strings"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/eventlog"
	"github.com/sluicenet/sluice/controller/filter"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
)

// unjudgedEvery is how often frames without a verdict are logged, for each workload and cause.
const unjudgedEvery = 10 * time.Second

// notRunning is the cause of a period in which an agent did not run: its frames were not counted.
const notRunning = "not_running"

// changed is the end of causes of periods in which another program had changed a part of the
// dataplane. Frames that passed or were lost then were not all counted.
const changed = "_changed"

// maxUnjudged bounds the causes, and the workloads whose last log line is remembered.
const maxUnjudged = 1000

// unjudgedCause is why frames went by, or were dropped, without a verdict.
type unjudgedCause struct {
	Node    string
	Cause   string
	Dropped bool
}

// MarshalText returns the cause as a key of JSON.
func (u unjudgedCause) MarshalText() ([]byte, error) {
	how := "passed"
	if u.Dropped {
		how = "dropped"
	}
	return []byte(how + " " + u.Cause + " " + u.Node), nil
}

// UnmarshalText reads what MarshalText wrote.
func (u *unjudgedCause) UnmarshalText(b []byte) error {
	parts := strings.SplitN(string(b), " ", 3)
	if len(parts) != 3 {
		return fmt.Errorf("cause %q of frames without a verdict: it has 3 words", b)
	}
	*u = unjudgedCause{Node: parts[2], Cause: parts[1], Dropped: parts[0] == "dropped"}
	return nil
}

// unjudged counts frames without a verdict. The server's lock guards it.
type unjudged struct {
	total map[unjudgedCause]uint64
	lines map[string]*unjudgedLine // by workload and cause
}

// unjudgedLine is a log line that is not repeated for a while.
type unjudgedLine struct {
	at    time.Time
	since uint64 // frames that are not logged yet
}

func newUnjudged() unjudged {
	return unjudged{total: make(map[unjudgedCause]uint64), lines: make(map[string]*unjudgedLine)}
}

func (u *unjudged) restore(total map[unjudgedCause]uint64) {
	for c, n := range total {
		u.total[c] += n
	}
}

// passed is how many frames went by, of all nodes.
func (u *unjudged) passed() (n uint64) {
	for c, frames := range u.total {
		if !c.Dropped {
			n += frames
		}
	}
	return n
}

// counters returns an agent's counters with what it reported of frames without a verdict.
func (u *unjudged) counters(node string, own map[string]uint64) map[string]uint64 {
	out := maps.Clone(own)
	for c, n := range u.total {
		if c.Node != node {
			continue
		}
		if out == nil {
			out = make(map[string]uint64)
		}
		name := "unjudged.passed."
		if c.Dropped {
			name = "unjudged.dropped."
		}
		out[name+c.Cause] += n
	}
	return out
}

// due counts frames and returns how many a log line is to name; 0 where it is not due.
func (u *unjudged) due(key string, frames uint64, now time.Time) uint64 {
	l := u.lines[key]
	if l == nil {
		if len(u.lines) >= maxUnjudged {
			clear(u.lines)
		}
		l = new(unjudgedLine)
		u.lines[key] = l
	}
	l.since += frames
	if !l.at.IsZero() && now.Sub(l.at) < unjudgedEvery {
		return 0
	}
	n := l.since
	l.at, l.since = now, 0
	return n
}

// word returns what an agent calls a cause, a backend or an interface as one short word.
func word(text string) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, text[:min(len(text), maxCause)])
	if text == "" {
		return "unknown"
	}
	return text
}

// unjudgedReport makes frames without a verdict loud: a violation, an event, a count and a log
// line. The lock is held.
func (s *history) unjudgedReport(n *node, u *controlv1.Unjudged) {
	if u.GetFrames() == 0 && u.GetCause() != notRunning && !strings.HasSuffix(u.GetCause(), changed) {
		return
	}
	backend, cause := word(u.Backend), word(u.Cause)
	c := unjudgedCause{Node: n.name, Cause: cause, Dropped: u.Dropped}
	if _, ok := s.unjudged.total[c]; !ok && len(s.unjudged.total) >= maxUnjudged {
		c.Cause = "other"
	}
	s.unjudged.total[c] += u.Frames
	from := filter.Identity{Node: n.name, Name: n.name, Group: model.Nodes} // frames of several workloads
	if m := s.dir.known(n, u.Workload, u.First); m != nil {
		from = m.identity()
	}
	verdict := flow.Violate
	if u.Dropped {
		verdict = flow.Deny
	}
	text, share := backend+": "+cause, n.name+"/"+u.Workload
	row := &graph.Violation{
		Kind:    graph.Kind{From: from.Group, To: model.Any, FromNode: from.Node, FromWorkload: from.Name, ToWorkload: model.Any},
		Verdict: verdict, Reason: flow.ByFailOpen, Reporter: u.Workload, Text: text, Count: u.Frames, First: u.First, Last: u.Last,
	}
	if u.Dropped {
		row.Outcome = flow.OutcomeDenied
	}
	if u.Frames > 0 { // else it is a period whose frames are unknown
		s.graph.AddUnjudged(row, share)
	}
	if s.replaying {
		return
	}
	if frames := s.unjudged.due(share+" "+cause, u.Frames, s.now()); frames > 0 {
		message := "frames passed without a verdict"
		if u.Dropped {
			message = "frames dropped without a verdict"
		}
		s.log.Warn(message, "node", n.name, "workload", from.Name, "interface", word(u.Interface), "backend", backend, "cause", cause, "frames", frames)
	}
	e := &controlv1.Event{
		Kind: controlv1.EventKind_EVENT_KIND_FAILOPEN, Stamp: u.Last, Began: u.First, From: from.Name, FromGroup: from.Group, To: model.Any, ToGroup: model.Any,
		Verdict: vocab.Verdict(verdict), Reason: vocab.Reason(flow.ByFailOpen), Outcome: vocab.Outcome(row.Outcome), Reporter: from.Name, Text: text, Cause: cause,
		Frames: u.Frames, BytesOut: u.Bytes,
	}
	x := violationSubject(row)
	x.Kind, x.Reporter = e.Kind, x.From
	s.events.Add(&eventlog.Entry{Event: e, Share: share, Subject: x})
}

// Unjudged returns how many frames went by without a verdict, by cause, and how many were dropped
// without one. It may be called from any goroutine.
func (s *Server) Unjudged() (passed, dropped map[string]uint64) {
	passed, dropped = make(map[string]uint64), make(map[string]uint64)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, n := range s.unjudged.total {
		if c.Dropped {
			dropped[c.Cause] += n
		} else {
			passed[c.Cause] += n
		}
	}
	return passed, dropped
}
