package host

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	parserv1 "github.com/sluicenet/sluice/api/parser/v1"
	"github.com/sluicenet/sluice/plugins/wire"
)

// stream carries the sessions of one worker to one run of a plugin. Two goroutines move its
// messages, so that the worker never waits: one receives, one sends what the worker may not send itself.
type stream struct {
	live   *live
	nudge  func()
	out    chan *parserv1.IdentifyRequest // closed never; ctx ends the sender
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	handed  atomic.Uint64 // bytes of requests given to the sender; the worker writes it
	done    atomic.Uint64 // bytes of requests that the plugin has worked on
	drained atomic.Uint64 // bytes of answers that the worker has read
	dead    atomic.Bool

	opened atomic.Pointer[parserv1.Parser_IdentifyClient] // nil before
	queued atomic.Int64                                   // messages that the sender has not sent

	mu      sync.Mutex
	answers [][]byte // guarded by mu; bounded by the credit that the plugin was given
	waiting uint64   // bytes in answers, of all time; the receiver's own
}

// outLen is how many messages may wait for the sender.
const outLen = 64

// open opens a stream; messages may be handed over at once.
func (l *live) open(nudge func()) *stream {
	st := &stream{live: l, nudge: nudge, out: make(chan *parserv1.IdentifyRequest, outLen)}
	st.ctx, st.cancel = context.WithCancel(context.Background())
	l.mu.Lock()
	l.streams[st] = true
	l.mu.Unlock()
	st.wg.Go(st.run)
	return st
}

// close ends it and waits.
func (st *stream) close() {
	st.cancel()
	st.wg.Wait()
}

// run sends. Whatever ends the stream, the worker is woken.
func (st *stream) run() {
	defer st.nudge()
	defer func() {
		st.dead.Store(true)
		st.live.mu.Lock()
		delete(st.live.streams, st)
		st.live.mu.Unlock()
	}()
	g, err := st.live.client.Identify(st.ctx)
	if err != nil {
		st.broken(err)
		return
	}
	st.opened.Store(&g)
	ctx := g.Context()
	st.wg.Go(func() {
		defer st.cancel()
		st.broken(st.receive(g))
	})
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-st.out:
			if err := g.Send(q); err != nil {
				st.cancel()
				return // the receiver has the reason
			}
			st.queued.Add(-1)
		}
	}
}

// shortBytes is how much may be without an answer for a message to be sent by the worker itself: gRPC takes 64 KiB
// of a stream before a send waits for the connection.
const shortBytes = 32 << 10

// send sends a message, here if that cannot wait for anything, else on the sender's goroutine, which costs a change of
// goroutines. There is room in out.
func (st *stream) send(q *parserv1.IdentifyRequest) {
	if g := st.opened.Load(); g != nil && st.queued.Load() == 0 && st.handed.Load()-st.done.Load() <= shortBytes {
		if err := (*g).Send(q); err != nil {
			st.cancel()
		}
		return
	}
	st.queued.Add(1)
	st.out <- q
}

// broken ends the plugin's run, unless it was this side that ended the stream.
func (st *stream) broken(err error) {
	if st.ctx.Err() == nil {
		st.live.fail(fmt.Errorf("stream: %w", err))
	}
}

// receive takes answers until the stream ends.
func (st *stream) receive(g parserv1.Parser_IdentifyClient) error {
	for {
		r, err := g.Recv()
		if err != nil {
			return err
		}
		if r.Panics > 0 {
			st.live.p.panicked(r.Panics, r.Panic)
		}
		st.waiting += uint64(len(r.Records))
		switch done := st.done.Load(); {
		case r.Done < done || r.Done > st.handed.Load():
			return st.violation(fmt.Errorf("it has worked on %d bytes of %d, after %d", r.Done, st.handed.Load(), done))
		case st.waiting > st.drained.Load()+wire.Window:
			return st.violation(fmt.Errorf("answers beyond its credit"))
		case len(r.Records) > wire.MaxMessage:
			return st.violation(fmt.Errorf("an answer of %d bytes", len(r.Records)))
		}
		st.mu.Lock()
		if len(r.Records) > 0 {
			st.answers = append(st.answers, r.Records)
		}
		st.mu.Unlock()
		st.done.Store(r.Done) // after its answers can be had
		st.nudge()
	}
}

// violation ends the stream of a plugin that violates the protocol.
func (st *stream) violation(err error) error {
	err = fmt.Errorf("%w: %w", ErrProtocol, err)
	st.live.fail(err)
	st.dead.Store(true)
	st.cancel()
	return err
}

// take is what was answered since the last call.
func (st *stream) take() [][]byte {
	st.mu.Lock()
	defer st.mu.Unlock()
	a := st.answers
	st.answers = nil
	return a
}

// link is a worker's side of its streams to one plugin, through all of its runs. Only the
// worker uses it.
type link struct {
	p       *process
	stream  atomic.Pointer[stream]
	cur     []byte    // the message at hand
	items   int       // records in it
	queue   []message // those that wait for credit
	pos     uint64    // bytes of records written since the stream began
	sent    []stamp   // when messages went, until they are answered
	granted uint64    // credit that the plugin knows of
	leaving bool      // the plugin gets no new sessions
	late    bool      // it has not answered for long
	urgent  bool      // somebody waits for an answer to the message at hand
	since   time.Time // when it was first held back; zero: it was not
}

type message struct {
	data  []byte
	items int
}

type stamp struct {
	pos uint64
	at  time.Time
}

// maxBehind is how many bytes may wait for credit; then no new sessions are taken.
const maxBehind = 8 << 20

// up reports whether there is a stream that is open.
func (k *link) up() bool {
	st := k.stream.Load()
	return st != nil && !st.dead.Load()
}

// behind reports whether too much waits already.
func (k *link) behind() bool { return k.pos-k.stream.Load().handed.Load() > maxBehind }

// answered reports whether everything up to a position was worked on.
func (k *link) answered(pos uint64) bool {
	st := k.stream.Load()
	return st == nil || st.done.Load() >= pos
}

// write adds records to the message at hand.
func (k *link) write(rec []byte) {
	if len(k.cur)+len(rec) > wire.MaxMessage {
		k.seal()
	}
	k.cur = append(k.cur, rec...)
	k.items++
	k.pos += uint64(len(rec))
}

// Bounds of what is held back: because nobody waits for it, or because the plugin is busy.
const (
	lazyBytes = 16 << 10
	busyBytes = 4 << 10
	lazyTime  = 5 * time.Millisecond
)

// due reports whether the message at hand is to go now. One that is only about sessions with a name waits a little for
// others, and any waits for the answer to the one before: each message costs as much as parsing
// some sessions.
func (k *link) due() bool {
	if len(k.cur) == 0 {
		return false
	}
	if k.urgent && (len(k.cur) >= busyBytes || k.answered(k.pos-uint64(len(k.cur)))) || len(k.cur) >= lazyBytes {
		return true
	}
	if k.urgent {
		return false // its answer lets the next one go
	}
	now := time.Now()
	if k.since.IsZero() {
		k.since = now
	}
	return now.Sub(k.since) >= lazyTime
}

// seal ends the message at hand.
func (k *link) seal() {
	if len(k.cur) == 0 {
		return
	}
	k.queue = append(k.queue, message{append([]byte(nil), k.cur...), k.items})
	k.cur, k.items, k.urgent, k.since = k.cur[:0], 0, false, time.Time{}
}

// push hands over what credit allows, and grants the plugin new credit when there is much of it.
func (k *link) push(c *counters) {
	st := k.stream.Load()
	if st == nil || st.dead.Load() {
		return
	}
	credit := st.drained.Load() + wire.Window
	for len(k.queue) > 0 {
		m := k.queue[0]
		handed := st.handed.Load() + uint64(len(m.data))
		if handed > st.done.Load()+wire.Window || len(st.out) == cap(st.out) {
			return
		}
		st.handed.Store(handed)
		k.sent = append(k.sent, stamp{handed, time.Now()})
		st.send(&parserv1.IdentifyRequest{Records: m.data, Credit: credit})
		k.granted = credit
		k.queue[0] = message{}
		k.queue = k.queue[1:]
		c.messages.Add(1)
		c.items.Add(uint64(m.items))
		st.live.p.items.Add(uint64(m.items))
		c.bytes.Add(uint64(len(m.data)))
	}
	if credit-k.granted > wire.Window/4 && len(st.out) < cap(st.out) {
		k.granted = credit
		st.send(&parserv1.IdentifyRequest{Credit: credit})
	}
}

// lateTime is how long a plugin may leave a message without an answer for claims of others to wait for it.
const lateTime = 100 * time.Millisecond

// clock notes how long answered messages took, and whether one takes too long.
func (k *link) clock(c *counters) {
	st := k.stream.Load()
	if len(k.sent) == 0 || st == nil {
		k.late = false
		return
	}
	done, now, n := st.done.Load(), time.Now(), 0
	for n < len(k.sent) && k.sent[n].pos <= done {
		us := uint64(now.Sub(k.sent[n].at).Microseconds())
		c.answers.Add(1)
		c.latency.Add(us)
		if us > c.slowest.Load() {
			c.slowest.Store(us)
		}
		n++
	}
	k.sent = k.sent[:copy(k.sent, k.sent[n:])]
	k.late = len(k.sent) > 0 && now.Sub(k.sent[0].at) > lateTime
}

// reset empties the link for another run of its plugin.
func (k *link) reset(st *stream) {
	k.stream.Store(st)
	k.cur, k.items, k.queue, k.pos, k.sent, k.granted = k.cur[:0], 0, nil, 0, k.sent[:0], 0
	k.urgent, k.since = false, time.Time{}
}
