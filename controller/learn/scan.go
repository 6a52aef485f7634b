package learn

import (
	"hash/maphash"
	"net/netip"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/flow"
)

// A source scans if in one window it tried ScanTargets addresses and ports that did not answer, and more
// than those that did. So a monitoring system with 1,000 targets does not, as long as most answer;
// nor does a service with many clients, each of which is a source of its own.
const (
	ScanTargets = 50
	scanWindow  = int64(300e9) // ns
	// scanKeep is how long what a source teaches is set aside after its last scan, ns.
	scanKeep = int64(600e9)
)

// Bounds of memory. Sources beyond them are not watched until others are forgotten.
const (
	maxSources = 10_000
	maxTargets = 2048 // of one source, answered or not
	maxRecent  = 20_000
)

// scans finds out which sources scan, and remembers what each source taught in the present window.
type scans struct {
	seed    maphash.Seed
	sources map[string]*source
	recent  map[taught]teacher
	swept   int64
}

// source is what one client tried in a window.
type source struct {
	began            int64
	until            int64           // it scans until then
	targets          map[uint64]bool // whether they answered
	answered, failed int
}

// taught is a port of a rule.
type taught struct {
	key  key
	port model.Port
}

// teacher is the only source that taught something new, and when.
type teacher struct {
	source string
	at     int64
}

func newScans() scans {
	return scans{seed: maphash.MakeSeed(), sources: make(map[string]*source), recent: make(map[taught]teacher)}
}

// target is an address and port that a client tried.
type target struct {
	addr  netip.Addr
	proto uint8
	port  uint16
}

// observe counts a connection, and reports whether it made its source a scanner.
func (s *scans) observe(c *Connection, now int64) bool {
	if c.Source == "" || c.To == model.Multicast || !c.serverKnown() || c.oneWay() {
		return false
	}
	x := s.sources[c.Source]
	switch {
	case x == nil && len(s.sources) >= maxSources:
		return false
	case x == nil:
		x = new(source)
		s.sources[c.Source] = x
	}
	if x.targets == nil || now-x.began >= scanWindow {
		*x = source{began: now, until: x.until, targets: make(map[uint64]bool)}
	}
	ok := c.Answered && c.Outcome != flow.OutcomeRefused
	id := maphash.Comparable(s.seed, target{c.Server, c.Proto, c.Port})
	was, known := x.targets[id]
	switch {
	case known && (was || !ok), !known && len(x.targets) >= maxTargets:
		return false
	case known:
		x.failed--
	}
	x.targets[id] = ok
	if ok {
		x.answered++
	} else {
		x.failed++
	}
	if x.failed < ScanTargets || x.failed <= x.answered {
		return false
	}
	before := x.until
	x.until = now + scanKeep
	return before <= now
}

// scanning reports whether a source is a scanner now.
func (s *scans) scanning(name string, now int64) bool {
	x := s.sources[name]
	return x != nil && x.until > now
}

// remember notes who taught something new.
func (s *scans) remember(x *lesson, now int64) {
	if len(s.recent) < maxRecent {
		s.recent[taught{x.key, x.port}] = teacher{x.source, now}
	}
}

// confirm forgets who taught something, because another source has taught it, too.
func (s *scans) confirm(x *lesson) {
	k := taught{x.key, x.port}
	if t, ok := s.recent[k]; ok && t.source != x.source {
		delete(s.recent, k)
	}
}

// takeRecent returns what a source alone has taught lately, and forgets it.
func (s *scans) takeRecent(name string) []taught {
	var out []taught
	for k, t := range s.recent {
		if t.source == name {
			out = append(out, k)
			delete(s.recent, k)
		}
	}
	return out
}

// sweep forgets what is old.
func (s *scans) sweep(now int64) {
	if now-s.swept < scanWindow/4 {
		return
	}
	s.swept = now
	for k, t := range s.recent {
		if now-t.at >= scanWindow {
			delete(s.recent, k)
		}
	}
	for name, x := range s.sources {
		if now-x.began >= scanWindow && x.until <= now {
			delete(s.sources, name)
		}
	}
}
