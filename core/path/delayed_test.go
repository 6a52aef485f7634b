package path_test

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

// delayed is a detect.Remote that answers like a plugin, after a delay by the test's clock.
type delayed struct {
	delay int64
	now   *int64
	reg   *parsers.Registry
	flows map[uint64]*guest
	last  uint64
	queue []call
}

var (
	_ detect.Remote = (*delayed)(nil)
	_ detect.Prompt = (*delayed)(nil)
)

// guest is one session.
type guest struct {
	d       detect.Ident
	owner   uint32
	rest    [2][]byte
	seen    uint32
	waiting int
	news    detect.News
}

// call is one call that is not answered yet.
type call struct {
	at  int64
	of  uint64
	run func(*guest)
}

func (r *delayed) Open(m *parsers.Meta, owner uint32) (uint64, bool) {
	r.last++
	g := &guest{owner: owner}
	g.d.Reset(r.reg, *m)
	r.flows[r.last] = g
	return r.last, false
}

func (r *delayed) ask(n uint64, run func(*guest)) {
	if g := r.flows[n]; g != nil {
		g.waiting++
		r.queue = append(r.queue, call{*r.now + r.delay, n, run})
	}
}

func (r *delayed) Data(n uint64, dir parsers.Dir, data []byte) {
	data = append([]byte(nil), data...)
	r.ask(n, func(g *guest) {
		g.seen++
		if g.d.Meta.Datagram() {
			g.d.Data(dir, data)
			return
		}
		chosen := g.d.Chosen()
		g.rest[dir] = append(g.rest[dir], data...)
		g.rest[dir] = g.rest[dir][g.d.Data(dir, g.rest[dir]):]
		if other := dir.Reverse(); !chosen && g.d.Chosen() && len(g.rest[other]) > 0 {
			g.rest[other] = g.rest[other][g.d.Data(other, g.rest[other]):]
		}
	})
}

func (r *delayed) Gap(n uint64, dir parsers.Dir, size int) {
	r.ask(n, func(g *guest) { g.d.Gap(dir, size) })
}
func (r *delayed) End(n uint64)   { r.ask(n, func(g *guest) { g.d.End() }) }
func (r *delayed) Close(n uint64) { delete(r.flows, n) }
func (*delayed) Flush()           {}

func (r *delayed) Poll(to detect.Answers) {
	for len(r.queue) > 0 && r.queue[0].at <= *r.now {
		q := r.queue[0]
		r.queue = r.queue[1:]
		g := r.flows[q.of]
		if g == nil {
			continue
		}
		q.run(g)
		g.waiting--
		if news := g.d.News(g.seen); news != g.news {
			g.news = news
			to.News(g.owner, news)
		}
	}
}

// Shows implements detect.Shower.
func (r *delayed) Shows(a app.ID) bool { return r.reg.Shows(a) }

func (*delayed) Wait(time.Duration)       {}
func (*delayed) Export(uint64) any        { return nil }
func (*delayed) Adopt(any, uint32) uint64 { return 0 }
func (*delayed) Stop()                    {}

func (r *delayed) Answered(n uint64) bool { g := r.flows[n]; return g == nil || g.waiting == 0 }

// due returns when the next answer is due; 0 without one.
func (r *delayed) due() int64 {
	if len(r.queue) == 0 {
		return 0
	}
	return r.queue[0].at
}
