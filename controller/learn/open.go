package learn

import (
	"slices"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
)

// A connection teaches its port and direction even if its application was not seen: it was
// open before and cannot be named from the middle, or it is idle. The rule is for that port and
// any application then, until a connection to the port names one.

// OpenComment is the comment of a rule for any application, because those of the connections
// that it was learned from were not seen.
const OpenComment = "learned from open connections, applications not seen"

// nameless reports whether what would name the connection's application was not seen: its
// beginning, or any payload at all.
func (c *Connection) nameless() bool {
	switch {
	case !carriesApps(c.Proto):
		return false
	case c.Idle && c.App == app.Undecided:
		return true
	}
	return c.Midstream && (c.App == app.Undecided || c.App == app.Unknown)
}

// named reports whether a learned rule for named applications has the lesson's port: what was
// not seen is no other application then.
func (l *Learner) named(x *lesson) bool {
	return slices.ContainsFunc(l.rules.LearnedRules(), func(r model.Rule) bool {
		return r.From == x.key.from && r.To == x.key.to && len(r.Apps) > 0 && covers(r.Ports, x.port)
	})
}

// narrow removes a port from the rule for any application, once the port's application is
// known; a rule without ports is deleted. It reports whether the rule has changed.
func (l *Learner) narrow(x *lesson) (model.Rule, bool) {
	if x.key.app == anyApp {
		return model.Rule{}, false
	}
	r, ok := l.rules.Find(l.index[key{x.key.to, x.key.from, anyApp}])
	if !ok || r.Origin != model.Learned || len(r.Apps) > 0 || !slices.Contains(r.Ports, x.port) {
		return model.Rule{}, false
	}
	r.Ports = slices.DeleteFunc(slices.Clone(r.Ports), func(p model.Port) bool { return p == x.port })
	if len(r.Ports) == 0 {
		if _, err := l.rules.Delete(r.ID); err == nil {
			l.gone = append(l.gone, r.ID)
		}
		return model.Rule{}, false
	}
	if r.Comment == OpenComment && !slices.ContainsFunc(r.Ports, func(p model.Port) bool {
		return p.Proto == packet.ProtoTCP || p.Proto == packet.ProtoUDP
	}) {
		r.Comment = ""
	}
	return l.rules.PutLearned(r), true
}

// TakeDeleted returns the ids of rules that Learn deleted, and forgets them.
func (l *Learner) TakeDeleted() []uint32 {
	gone := l.gone
	l.gone = nil
	return gone
}
