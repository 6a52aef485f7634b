package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/store"
)

const (
	// beat is the interval of a leader's heartbeat on its key. A session's own TTL is at least 10 s and expires
	// after up to twice that.
	beat = time.Second
	// sessionTTL is when Consul itself ends a leadership, long after other holders would.
	sessionTTL = 30 * time.Second
	renewEvery = sessionTTL / 4
	// hedge is the delay after which an unanswered heartbeat is also sent through another server: so a stopped
	// server, or one that still forwards requests to a stopped leader, causes no delay.
	hedge = beat / 4
	// resignTime bounds Resign at the end.
	resignTime = 3 * time.Second
)

// lead is one leadership: a session that holds a key's lock.
type lead struct {
	s       *Store
	name    string
	holder  string
	key     string
	session string
	lost    chan struct{}
	once    sync.Once // closes lost
	stop    context.CancelFunc
	ended   chan struct{} // closed when the goroutine and the session have ended
}

var _ store.Fencer = (*lead)(nil)

// Lead blocks until this holder leads under name, or ctx ends. It is lost when another holder has taken it,
// not while Consul is without a leader. A leader that is silent for Options.Silence is replaced.
func (s *Store) Lead(ctx context.Context, name, holder string) (store.Leadership, error) {
	l := &lead{s: s, name: name, holder: holder, key: s.inner + "lead/" + escape(name), lost: make(chan struct{}), ended: make(chan struct{})}
	won, err := l.contend(ctx)
	if !won {
		l.destroy(l.session)
		return nil, fmt.Errorf("wait to lead %s: %w", name, err)
	}
	run, stop := context.WithCancel(s.ctx)
	l.stop = stop
	s.work.Go(func() { l.keepLock(run) })
	return l, nil
}

// contend tries until the lock is held.
func (l *lead) contend(ctx context.Context) (bool, error) {
	var seen rival
	pause := pauses()
	for {
		won, err := l.try(ctx, &seen)
		var no refused
		switch {
		case won:
			return true, nil
		case err == nil:
			pause.Reset()
			continue
		case ctx.Err() != nil, errors.Is(err, store.ErrClosed), errors.As(err, &no):
			return false, err
		}
		seen = rival{} // silence counts only while Consul works
		l.s.log.Debug("consul unavailable, still waiting to lead", "name", l.name, "error", err)
		if err := l.s.sleep(ctx, pause.Next()); err != nil {
			return false, err
		}
	}
}

// rival is the last seen holder of the lock.
type rival struct {
	session string
	index   uint64
	since   time.Time // of the last heartbeat
}

// try takes the lock if it is free, or waits for a change of its holder.
func (l *lead) try(ctx context.Context, seen *rival) (bool, error) {
	var p *api.KVPair
	err := l.s.doRequest(ctx, requestTime, func(ctx context.Context, c *api.Client) (err error) {
		q := &api.QueryOptions{RequireConsistent: true, WaitIndex: seen.index, WaitTime: beat}
		p, _, err = c.KV().Get(l.key, q.WithContext(ctx))
		return err
	})
	switch {
	case err != nil:
		return false, err
	case p == nil || p.Session == "":
		*seen = rival{}
		if err := l.open(ctx); err != nil {
			return false, err
		}
		return l.write(ctx)
	case p.Session != seen.session || p.ModifyIndex != seen.index:
		*seen = rival{p.Session, p.ModifyIndex, time.Now()}
	case time.Since(seen.since) > l.s.o.Silence:
		l.s.log.Warn("leader is silent, replacing it", "name", l.name, "leader", string(p.Value), "silence", time.Since(seen.since))
		l.destroy(p.Session)
		*seen = rival{}
	}
	return false, nil
}

// open creates the session, or checks that it still exists.
func (l *lead) open(ctx context.Context) error {
	return l.s.doRequest(ctx, requestTime, func(ctx context.Context, c *api.Client) error {
		o := (&api.WriteOptions{}).WithContext(ctx)
		if l.session != "" {
			e, _, err := c.Session().Renew(l.session, o)
			if err != nil || e != nil {
				return err
			}
		}
		// Without checks: a check on that server would end the session together with the server.
		id, _, err := c.Session().CreateNoChecks(&api.SessionEntry{Name: "sluice " + l.name + " " + l.holder,
			TTL: sessionTTL.String(), Behavior: api.SessionBehaviorRelease, LockDelay: time.Millisecond}, o)
		l.session = id
		return err
	})
}

// write takes the lock, or sends a heartbeat. The value differs each time.
func (l *lead) write(ctx context.Context) (held bool, err error) {
	value := fmt.Appendf(nil, "%s at %s", l.holder, time.Now().Format(time.RFC3339Nano))
	txn := api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVLock, Key: l.key, Value: value, Session: l.session}}}
	return l.s.first(ctx, func(ctx context.Context, c *api.Client) (bool, error) {
		held, _, _, err := c.Txn().Txn(txn, (&api.QueryOptions{}).WithContext(ctx))
		return held, err
	})
}

// keepLock sends heartbeats until the holder resigns or another has the lock.
func (l *lead) keepLock(ctx context.Context) {
	defer close(l.ended)
	defer l.destroy(l.session)
	defer l.lose()
	renewed := time.Now()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if held, err := l.write(ctx); err == nil && !held {
			l.s.log.Warn("leadership lost", "name", l.name, "holder", l.holder)
			return
		}
		if time.Since(renewed) >= renewEvery && l.renew(ctx) {
			renewed = time.Now()
		}
	}
}

func (l *lead) renew(ctx context.Context) bool {
	return l.s.doRequest(ctx, requestTime, func(ctx context.Context, c *api.Client) error {
		_, _, err := c.Session().Renew(l.session, (&api.WriteOptions{}).WithContext(ctx))
		return err
	}) == nil
}

// destroy ends a session and so releases its lock. It works in a closing store.
func (l *lead) destroy(session string) {
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), resignTime)
	defer cancel()
	at := int(l.s.at.Load())
	for i := range l.s.clients {
		_, err := l.s.clients[(at+i)%len(l.s.clients)].Session().Destroy(session, (&api.WriteOptions{}).WithContext(ctx))
		var se api.StatusError
		if err == nil || errors.As(err, &se) && se.Code < http.StatusInternalServerError || ctx.Err() != nil {
			return
		}
	}
}

func (l *lead) lose() { l.once.Do(func() { close(l.lost) }) }

// Lost is closed when the leadership is over, by Resign too.
func (l *lead) Lost() <-chan struct{} { return l.lost }

// Resign ends the leadership. It may be called again.
func (l *lead) Resign() error {
	l.lose()
	l.stop()
	<-l.ended
	return nil
}

// Fence returns the store for use while this leadership is held.
func (l *lead) Fence() store.Store { return &fenced{l.s, l} }

// fenced is a Store that commits only while a leadership is held.
type fenced struct {
	*Store
	lead *lead
}

// Commit applies all operations or none; store.ErrNotLeading if the leadership is over.
func (f *fenced) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	return f.commit(ctx, f.lead, ops)
}
