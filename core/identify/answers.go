package identify

import (
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

// answers is the Remote's interface to a Pool.
type answers struct{ p *Pool }

var _ detect.Answers = answers{}

// of returns the flow that an answer is for; nil if it is gone.
func (a answers) of(n uint32) *Flow {
	if int(n) >= len(a.p.all) {
		return nil
	}
	if f := a.p.all[n]; f != nil && f.Owner != 0 && f.far.number != 0 {
		return f
	}
	return nil
}

// News implements detect.Answers.
func (a answers) News(n uint32, news detect.News) {
	f := a.of(n)
	if f == nil {
		return
	}
	if news.Outcome == detect.Preamble && !f.far.learned {
		f.far.seen = max(f.far.seen, news.Seen)
	}
	f.far.news, f.far.received = news, true
	f.far.lost = f.far.lost || news.Lost
	f.accept()
	a.p.list(f)
}

// Found implements detect.Answers.
func (a answers) Found(n uint32, key parsers.Attr, value []byte) {
	if f := a.of(n); f != nil {
		f.Attrs.Set(key, value)
	}
}

// Threat implements detect.Answers.
func (a answers) Threat(n uint32, id uint16, text string) {
	if f := a.of(n); f != nil {
		a.p.threat(f, id, text)
	}
}

// Expect implements detect.Answers. It comes before the name where plugins compete.
func (a answers) Expect(n uint32, e parsers.Expectation) {
	if f := a.of(n); f != nil {
		e.At ^= f.far.flip
		a.p.expect(f, &e)
	}
}
