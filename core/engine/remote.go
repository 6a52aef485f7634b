package engine

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/stream"
	"github.com/sluicenet/sluice/parsers"
)

// How long a worker waits for answers where it must: when sessions end or move all at once.
const (
	lastAnswers = 200 * time.Millisecond
	syncAnswers = 5 * time.Second    // of a capture: its sessions must come out the same each time
	closeWait   = int64(time.Second) // ns that a closed session's last record waits
)

// far is the part of an ident that is being identified elsewhere, beside what the registry here may
// find (DNS, whose answers must be known before they are delivered).
type far struct {
	number  uint64      // with the worker's Remote; 0: nobody elsewhere is asked
	sent    [2]uint64   // stream offsets up to which bytes were given
	asked   uint32      // calls of Data
	heard   bool        // news is valid
	learned bool        // news is the session's outcome
	lost    bool        // somebody who might have known it was away
	ending  bool        // the answer was asked for, no more bytes go
	endBy   int64       // when a closed session stops waiting for it
	news    detect.News // the newest
	parcel  any         // while the session moves between workers
}

// outcome is how far the session's identification is, wherever it happens.
func (id *ident) outcome() detect.Outcome {
	if id.far.number != 0 && !id.far.learned {
		return detect.Undecided
	}
	return id.Outcome()
}

// wants says whether more bytes could tell anything.
func (id *ident) wants() bool {
	if id.far.number != 0 && !id.far.learned {
		return !id.far.ending
	}
	return id.Wants() && !id.far.ending
}

// end ends identification: what is found here is known at once, the rest when it is answered.
func (w *worker) end(id *ident) {
	switch {
	case id.far.number == 0:
		id.End()
	case !id.far.ending:
		id.far.ending = true
		w.remote.End(id.far.number)
		if !id.far.learned {
			id.End()
		}
	}
}

// Could implements policy.Openness, wherever the session is identified.
func (id *ident) Could(a app.ID) bool {
	if id.far.number == 0 || id.far.learned {
		return id.Ident.Could(a)
	}
	return id.far.news.Left.Could(a) || id.Waiting() && id.Ident.Could(a)
}

// unanswered says whether those elsewhere may still make something of what they were given.
func (w *worker) unanswered(id *ident) bool {
	if id.far.number == 0 || id.far.learned {
		return false
	}
	p, ok := w.remote.(detect.Prompt)
	return ok && !p.Answered(id.far.number)
}

// leave stops asking elsewhere.
func (w *worker) leave(id *ident) {
	if id.far.number != 0 {
		w.remote.Close(id.far.number)
		id.far.number = 0
	}
}

// asked follows up on bytes that were given elsewhere; true when there is nothing to settle here.
func (w *worker) asked(id *ident) bool {
	if id.far.number == 0 {
		return false
	}
	if !id.far.learned && id.Chosen() {
		w.leave(id) // found here
		return false
	}
	if id.far.heard {
		w.hear(id)
	}
	if w.sync {
		w.roundTrip(syncAnswers)
	}
	return true
}

// datagramFar gives a datagram elsewhere.
func (w *worker) datagramFar(id *ident, dir parsers.Dir, data []byte) {
	if !id.wants() || len(data) == 0 {
		return
	}
	if !id.far.learned {
		if id.Data(dir, data); id.Chosen() {
			return // found here; asked says so
		}
	}
	w.remote.Data(id.far.number, dir, data)
	id.far.asked++
}

// readFar is read for a session that is identified elsewhere.
func (w *worker) readFar(a *stream.Assembler, id *ident, dir parsers.Dir) {
	for id.wants() {
		if head := a.Head(); len(head) > 0 {
			used := len(head)
			if !id.far.learned {
				if used = id.Data(dir, head); id.Chosen() {
					a.Consume(used)
					w.leave(id) // found here
					w.read(a, id, dir)
					return
				}
			}
			if known := id.far.sent[dir] - a.Offset(); known < uint64(len(head)) {
				w.remote.Data(id.far.number, dir, head[known:])
				id.far.asked++
				id.far.sent[dir] = a.Offset() + uint64(len(head))
			}
			a.Consume(used)
		}
		n := a.Gap()
		if n == 0 {
			return
		}
		w.remote.Gap(id.far.number, dir, n)
		if !id.far.learned {
			id.Gap(dir, n)
		}
		a.Skip()
		id.far.sent[dir] = a.Offset()
	}
}

// hear makes the newest news the session's outcome, unless a parser here may still claim the session:
// then the stronger claim counts, and the turn of the other side ends the wait, as among
// parsers in one place.
func (w *worker) hear(id *ident) {
	n := &id.far.news
	if !id.far.learned {
		if n.Outcome != detect.Decided {
			return
		}
		if n.Strength < parsers.Certain && !id.far.ending && id.Waiting() && !id.BothSpoke() {
			return
		}
	}
	id.far.learned = true
	id.Learn(*n)
	if v := w.snap.endpoints[id.session.Key.Endpoint]; v != nil {
		w.settle(v, id.session, id)
	}
}

// roundTrip waits until everything that was asked is answered.
func (w *worker) roundTrip(d time.Duration) {
	w.remote.Flush()
	w.remote.Wait(d)
	w.remote.Poll(answers{w})
}

// poll takes what was answered.
func (w *worker) poll() {
	if w.remote != nil {
		w.remote.Poll(answers{w})
		w.remote.Flush()
	}
}

// answers is a worker as its Remote sees it.
type answers struct{ w *worker }

var _ detect.Answers = answers{}

// of is the ident that an answer is for; nil if it is gone.
func (a answers) of(owner uint32) *ident {
	if int(owner) >= len(a.w.idents.all) {
		return nil
	}
	if id := a.w.idents.all[owner]; id != nil && id.session != nil && id.far.number != 0 {
		return id
	}
	return nil
}

// News implements detect.Answers.
func (a answers) News(owner uint32, n detect.News) {
	id := a.of(owner)
	if id == nil {
		return
	}
	if n.Outcome == detect.Preamble && !id.far.learned {
		a.w.releaseSeen(id.session, id, n.Seen)
	}
	id.far.news, id.far.heard = n, true
	id.far.lost = id.far.lost || n.Lost
	a.w.hear(id)
	if id.session == nil || id.far.number == 0 || id.far.learned || id.far.ending {
		return
	}
	if v := a.w.snap.endpoints[id.session.Key.Endpoint]; v != nil && a.w.hopeless(v, id.session, id) {
		a.w.end(id) // what is known of it by now is its name
	}
}

// Found implements detect.Answers.
func (a answers) Found(owner uint32, key parsers.Attr, value []byte) {
	if id := a.of(owner); id != nil {
		id.Attrs.Set(key, value)
	}
}

// Threat implements detect.Answers.
func (a answers) Threat(owner uint32, tid uint16, text string) {
	if id := a.of(owner); id != nil {
		id.tell(tid, text)
	}
}

// await asks for the answer of a closed session and says until when its last record waits; 0
// when there is nothing to wait for.
func (w *worker) await(s *session.Session) int64 {
	id := w.identOf(s)
	if id == nil || id.far.number == 0 {
		return 0
	}
	w.end(id)
	if w.sync {
		w.roundTrip(syncAnswers)
		return 0
	}
	if id.far.endBy == 0 {
		id.far.endBy = w.now + closeWait
	}
	if w.now >= id.far.endBy {
		return 0
	}
	return w.now + endAfter
}

// giveUp decides a session without the answer from elsewhere.
func (w *worker) giveUp(s *session.Session, id *ident) {
	if w.sync {
		w.end(id)
		w.roundTrip(syncAnswers)
		if s.Aux == 0 {
			return
		}
	}
	if app.ID(s.App) == app.Undecided {
		w.count[counter.Unanswered]++
		id.far.lost = true
	}
	w.leave(id)
}

// lastCall asks for the answers of sessions that are about to end and waits a little for them.
func (w *worker) lastCall(each func(fn func(*session.Session) bool)) {
	if w.remote == nil {
		return
	}
	n := 0
	each(func(s *session.Session) bool {
		if id := w.identOf(s); id != nil && id.far.number != 0 {
			w.end(id)
			n++
		}
		return true
	})
	if n > 0 {
		d := lastAnswers
		if w.sync {
			d = syncAnswers
		}
		w.roundTrip(d)
	}
}

// pack makes an ident ready to move to another worker.
func (w *worker) pack(id *ident) {
	if id.far.number != 0 {
		id.far.parcel = w.remote.Export(id.far.number)
		id.far.number = 0
	}
}

// unpack goes on with an ident of another worker. One that cannot go on elsewhere is decided here.
func (w *worker) unpack(id *ident, i uint32) {
	if id.far.parcel == nil {
		return
	}
	id.far.number = w.remote.Adopt(id.far.parcel, i)
	id.far.parcel = nil
	if id.far.number == 0 {
		id.far.lost = true
		id.End()
	}
}

// releaseSeen sends on the held packets that a Preamble's answer has seen: those behind them may
// be a request.
func (w *worker) releaseSeen(s *session.Session, id *ident, seen uint32) {
	n := 0
	for n < len(id.heldAt) && id.heldAt[n] <= seen {
		n++
	}
	if n > 0 && flow.Verdict(s.Verdict) == flow.Pending {
		w.releaseSome(s, id, n)
	}
}
