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

// stream carries the sessions of one worker to one run of a plugin. Two goroutines keep the worker from
// blocking: one receives, one sends what the worker may not send itself.
type stream struct {
	live   *live
	nudge  func()
	out    chan *parserv1.IdentifyRequest // closed never; ctx ends the sender
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	handed  atomic.Uint64 // bytes of requests passed to the sender; the worker writes it
	done    atomic.Uint64 // bytes of requests that the plugin has processed
	drained atomic.Uint64 // bytes of answers read by the worker
	dead    atomic.Bool

	opened atomic.Pointer[parserv1.Parser_IdentifyClient] // nil before
	queued atomic.Int64                                   // messages queued for the sender

	mu      sync.Mutex
	answers [][]byte // guarded by mu; bounded by the plugin's credit
	waiting uint64   // total bytes in answers; owned by the receiver
}

// outLen bounds the messages queued for the sender.
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

// run sends messages. The worker is woken at the end of the stream.
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

// shortBytes bounds the unanswered bytes for the worker to send a message itself: gRPC buffers 64 KiB of a
// stream before a send blocks.
const shortBytes = 32 << 10

// send sends a message, here if that cannot block, else on the sender's goroutine, which costs a switch.
// There is room in out.
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

// broken ends the plugin's run, unless this side ended the stream.
func (st *stream) broken(err error) {
	if st.ctx.Err() == nil {
		st.live.fail(fmt.Errorf("stream: %w", err))
	}
}

// receive receives answers until the stream ends.
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
			return st.violation(fmt.Errorf("it acknowledged %d bytes of %d, after %d", r.Done, st.handed.Load(), done))
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
		st.done.Store(r.Done) // after its answers are available
		st.nudge()
	}
}

// violation ends the stream after a protocol violation.
func (st *stream) violation(err error) error {
	err = fmt.Errorf("%w: %w", ErrProtocol, err)
	st.live.fail(err)
	st.dead.Store(true)
	st.cancel()
	return err
}

// takeAnswers returns the answers since the last call.
func (st *stream) takeAnswers() [][]byte {
	st.mu.Lock()
	defer st.mu.Unlock()
	a := st.answers
	st.answers = nil
	return a
}

// link is a worker's side of its streams to one plugin, across all of its runs. Only the worker uses it.
type link struct {
	p       *process
	stream  atomic.Pointer[stream]
	cur     []byte    // the message in progress
	items   int       // records in it
	queue   []message // messages waiting for credit
	pos     uint64    // bytes of records written since the stream began
	sent    []stamp   // when unanswered messages were sent
	granted uint64    // credit granted to the plugin
	leaving bool      // the plugin gets no new sessions
	late    bool      // it has not answered for long
	urgent  bool      // a session waits for an answer to cur
	since   time.Time // when cur was first delayed; zero: it was not
}

type message struct {
	data  []byte
	items int
}

type stamp struct {
	pos uint64
	at  time.Time
}

// maxBehind bounds the bytes waiting for credit; beyond it, new sessions are refused.
const maxBehind = 8 << 20

// up reports whether there is an open stream.
func (k *link) up() bool {
	st := k.stream.Load()
	return st != nil && !st.dead.Load()
}

// behind reports whether more than maxBehind waits.
func (k *link) behind() bool { return k.pos-k.stream.Load().handed.Load() > maxBehind }

// answered reports whether everything up to a position was processed.
func (k *link) answered(pos uint64) bool {
	st := k.stream.Load()
	return st == nil || st.done.Load() >= pos
}

// write adds records to the message in progress.
func (k *link) write(rec []byte) {
	if len(k.cur)+len(rec) > wire.MaxMessage {
		k.seal()
	}
	k.cur = append(k.cur, rec...)
	k.items++
	k.pos += uint64(len(rec))
}

// Bounds of delays: because no session waits for it, or because the plugin is busy.
const (
	lazyBytes = 16 << 10
	busyBytes = 4 << 10
	lazyTime  = 5 * time.Millisecond
)

// due reports whether the message in progress is due. One without unidentified sessions is delayed a
// little, and any until the answer to the previous one: each message costs as much as parsing some sessions.
func (k *link) due() bool {
	if len(k.cur) == 0 {
		return false
	}
	if k.urgent && (len(k.cur) >= busyBytes || k.answered(k.pos-uint64(len(k.cur)))) || len(k.cur) >= lazyBytes {
		return true
	}
	if k.urgent {
		return false // its answer releases the next one
	}
	now := time.Now()
	if k.since.IsZero() {
		k.since = now
	}
	return now.Sub(k.since) >= lazyTime
}

// seal completes the message in progress.
func (k *link) seal() {
	if len(k.cur) == 0 {
		return
	}
	k.queue = append(k.queue, message{append([]byte(nil), k.cur...), k.items})
	k.cur, k.items, k.urgent, k.since = k.cur[:0], 0, false, time.Time{}
}

// push sends what credit allows, and grants the plugin new credit in large steps.
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

// lateTime is how long claims of other plugins wait for an unanswered message.
const lateTime = 100 * time.Millisecond

// clock measures the latency of answers, and sets late if one is overdue.
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
