package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

// recalls brings offloaded flows back after each policy, asynchronously to Apply.
type recalls struct {
	once     sync.Once
	asked    chan struct{} // room for one
	done     chan struct{}
	stopping sync.Once
	enforced atomic.Uint64 // version of the newest policy such that no offloaded flow is older

	mu   sync.Mutex
	news chan struct{} // closed when enforced changes; guarded by mu
}

func (r *recalls) init() {
	r.asked, r.done, r.news = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
}

// finished records the version for which recalling is done.
func (r *recalls) finished(version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enforced.Store(version)
	close(r.news)
	r.news = make(chan struct{})
}

// request starts the recall of flows of older policies.
func (r *recalls) request(e *Engine) {
	r.once.Do(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.closed {
			e.wg.Add(1)
			go r.run(e)
		}
	})
	select {
	case r.asked <- struct{}{}:
	default:
	}
}

// stop stops the recalls.
func (r *recalls) stop() { r.stopping.Do(func() { close(r.done) }) }

// Enforced returns the version of the newest policy by which every packet is judged: no flow
// of an older one passes in the kernel any more. It is 0 before the first.
func (e *Engine) Enforced() uint64 { return e.recalls.enforced.Load() }

// AwaitEnforced waits until Enforced has reached a policy that was applied, at most d. It
// reports whether it has.
func (e *Engine) AwaitEnforced(version uint64, d time.Duration) bool {
	r := &e.recalls
	limit := time.NewTimer(d)
	defer limit.Stop()
	for {
		r.mu.Lock()
		news := r.news
		r.mu.Unlock()
		if r.enforced.Load() == version {
			return true
		}
		select {
		case <-news:
		case <-r.done:
			return false
		case <-limit.C:
			return false
		}
	}
}

// run recalls flows on request, until Close.
func (r *recalls) run(e *Engine) {
	defer e.wg.Done()
	for {
		select {
		case <-r.done:
			return
		case <-r.asked:
		}
		p := e.shared.Policy.Load()
		if p == nil {
			continue
		}
		var failed sync.WaitGroup
		for _, a := range r.attachments(e) {
			// Where recalling fails, a denied flow might still pass: such an endpoint is reattached.
			if err := a.recall.To(p.Generation); err != nil {
				e.cfg.Logger.Error("flows not recalled, reattaching endpoint", "workload", a.workload, "interface", a.ep.Interface, "error", err)
				failed.Add(1)
				go func() {
					defer failed.Done()
					e.detachAttached(a)
				}()
			}
		}
		failed.Wait()
		if p.Table != nil {
			r.finished(p.Table.Version())
		}
	}
}

// attachments returns the present attachments.
func (r *recalls) attachments(e *Engine) []*attached {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]*attached, 0, len(e.slots))
	for _, s := range e.slots {
		if s.cur != nil {
			list = append(list, s.cur)
		}
	}
	return list
}

// detachAttached detaches an endpoint, unless its attachment has changed.
func (e *Engine) detachAttached(a *attached) {
	s := e.acquire(a.ep.ID, false)
	if s == nil {
		return
	}
	defer e.release(s)
	of := e.lockWorkload(a.of.key)
	defer of.unlock(e)
	if s.cur != nil && s.cur.att == a.att {
		s.detachLost(e)
	}
}

// Stays returns the reason why no decided flow of an endpoint can be offloaded; "" where they
// can, and where the endpoint has no queues of that kind.
func (e *Engine) Stays(endpoint uint32) string {
	e.mu.Lock()
	var a *attached
	if s := e.slots[endpoint]; s != nil {
		a = s.cur
	}
	e.mu.Unlock()
	if a == nil {
		return ""
	}
	return a.recall.Stays(a.ep.Fail)
}
