package workload

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sluicenet/sluice/internal/backoff"
)

// dockerNews is what the daemon tells the watch: one of its fields.
type dockerNews struct {
	event *dockerEvent
	// about is an answer to a question about a container in its life number run.
	about *dockerContainer
	run   uint64
	// all is every container, after a connection was made.
	all    []dockerContainer
	listed bool
	// away says that there is no connection, and why.
	away error
}

// living is a container as the watch follows it.
type living struct {
	dockerContainer
	run uint64 // counts its lives
	// ino and path are its network namespace; 0 and "" while it has none that is known.
	ino  uint64
	path string
	// main is its first process as the daemon says; 0 before it answers.
	main int
	// soon is until when its namespace is looked for many times a second.
	soon time.Time
}

// dockerWatch is one run of Docker.Watch. Everything but subs and ask runs on its caller's goroutine.
type dockerWatch struct {
	src    *Docker
	yield  func(Event) bool
	subs   *subscriptions
	groups *controlGroups
	news   chan dockerNews
	asking chan struct{} // bounds the questions at one time
	wg     sync.WaitGroup

	containers map[string]*living
	told       map[uint64]map[string]Workload // by namespace and workload id
	bare       map[uint64]time.Time           // namespaces without an address yet, until when they are polled
	away       string                         // why the daemon does not answer; "" while it does
	synced     bool
}

const (
	dockerSoon  = 5 * time.Millisecond // between looks for a namespace that is about to be there
	dockerLong  = 30 * time.Second     // for so long
	dockerBare  = 3 * time.Second      // for addresses in it; later ones are notified
	dockerCheck = time.Second          // between looks at namespaces that may have vanished untold
	dockerAsks  = 8
)

func newDockerWatch(d *Docker) (*dockerWatch, error) {
	subs, err := newSubscriptions()
	if err != nil {
		return nil, err
	}
	return &dockerWatch{src: d, subs: subs, groups: mountedGroups(), news: make(chan dockerNews, 64), asking: make(chan struct{}, dockerAsks),
		containers: map[string]*living{}, told: map[uint64]map[string]Workload{}, bare: map[uint64]time.Time{}}, nil
}

// run works until ctx ends or nobody listens any more.
func (w *dockerWatch) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer w.wg.Wait()
	defer cancel()
	w.wg.Go(func() { w.follow(ctx) })
	check := time.NewTicker(dockerCheck)
	defer check.Stop()
	soon := time.NewTicker(dockerSoon)
	defer soon.Stop()
	soon.Stop()
	fast := false
	for ok := true; ok; {
		if pending := w.pending(); pending != fast {
			if fast = pending; fast {
				soon.Reset(dockerSoon)
			} else {
				soon.Stop()
			}
		}
		select {
		case <-ctx.Done():
			return
		case n := <-w.news:
			ok = w.take(ctx, &n)
		case ino := <-w.subs.changed:
			ok = w.tell(ino)
		case <-soon.C:
			ok = w.search(time.Now())
		case <-check.C:
			ok = w.verify()
		}
	}
}

// follow listens to the daemon and connects again whenever the connection ends.
func (w *dockerWatch) follow(ctx context.Context) {
	again := backoff.Backoff{First: dockerFirstWait, Last: dockerLastWait}
	for ctx.Err() == nil {
		opened := func() error {
			all, err := w.list(ctx)
			if err == nil {
				again.Reset()
				w.put(ctx, dockerNews{all: all, listed: true})
			}
			return err
		}
		err := w.src.api.events(ctx, opened, func(e *dockerEvent) { w.put(ctx, dockerNews{event: e}) })
		w.put(ctx, dockerNews{away: err})
		again.Wait(ctx)
	}
}

func (w *dockerWatch) put(ctx context.Context, n dockerNews) {
	select {
	case w.news <- n:
	case <-ctx.Done():
	}
}

// list is every container, with the process of those that run.
func (w *dockerWatch) list(ctx context.Context) ([]dockerContainer, error) {
	all, running, err := w.src.api.list(ctx)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	for i := range all {
		if !slices.Contains(running, all[i].id) {
			continue
		}
		w.asking <- struct{}{}
		wg.Go(func() {
			defer func() { <-w.asking }()
			if c, err := w.src.api.inspect(ctx, all[i].id); err == nil {
				all[i] = c
			}
		})
	}
	wg.Wait()
	return all, ctx.Err()
}

// ask asks for all about a container; the answer comes as news.
func (w *dockerWatch) ask(ctx context.Context, c *living) {
	id, run := c.id, c.run
	w.wg.Go(func() {
		select {
		case w.asking <- struct{}{}:
		case <-ctx.Done():
			return
		}
		a, err := w.src.api.inspect(ctx, id)
		<-w.asking
		if err == nil {
			w.put(ctx, dockerNews{about: &a, run: run})
		} else if !errors.Is(err, errNoContainer) && ctx.Err() == nil {
			w.src.cfg.Logger.Warn("container not inspected", "container", id, "error", err)
		}
	})
}

func (w *dockerWatch) take(ctx context.Context, n *dockerNews) bool {
	switch {
	case n.event != nil:
		return w.event(ctx, n.event)
	case n.about != nil:
		c := w.containers[n.about.id]
		if c == nil {
			return true
		}
		pid := c.pid
		c.learn(n.about)
		if c.run == n.run {
			c.main = n.about.pid
			w.groups.learn(c.id, c.main)
		}
		if pid != 0 || c.run != n.run {
			c.pid = pid // the answer may be older than what is known
		}
		return w.locate(c)
	case n.listed:
		return w.replace(n.all)
	}
	why := unreachable(n.away).Error()
	if w.away == "" {
		w.src.cfg.Logger.Warn("docker does not answer, trying again", "endpoint", w.src.cfg.Endpoint, "error", why)
	}
	if w.away != why && !w.note("docker "+w.src.cfg.Endpoint+": "+why) {
		return false
	}
	w.away = why
	return w.sync()
}

// note tells people about the daemon; "" takes it back.
func (w *dockerWatch) note(text string) bool {
	return w.yield(Event{Kind: Noted, About: "docker " + w.src.cfg.Endpoint, Note: text})
}

// sync tells once that everything was told that was there at the beginning.
func (w *dockerWatch) sync() bool {
	if w.synced {
		return true
	}
	w.synced = true
	return w.yield(Event{Kind: Synced})
}

// replace takes what a daemon says that was away, and tells the difference.
func (w *dockerWatch) replace(all []dockerContainer) bool {
	if w.away != "" {
		w.src.cfg.Logger.Info("docker answers again", "endpoint", w.src.cfg.Endpoint, "containers", len(all))
		if !w.note("") {
			return false
		}
	}
	w.away = ""
	there := map[string]bool{}
	for i := range all {
		there[all[i].id] = true
		c := w.containers[all[i].id]
		if c != nil && all[i].pid != c.pid && !w.ended(c) {
			return false
		}
		if c == nil {
			c = &living{}
			w.containers[all[i].id] = c
		}
		c.learn(&all[i])
		c.main = c.pid
		w.groups.learn(c.id, c.main)
	}
	for _, id := range sortedKeys(w.containers) {
		if c := w.containers[id]; !there[id] {
			delete(w.containers, id)
			if !w.ended(c) {
				return false
			}
		}
	}
	for _, id := range sortedKeys(w.containers) {
		if !w.locate(w.containers[id]) {
			return false
		}
	}
	return w.sync()
}

// learn takes what the daemon says of a container.
func (c *living) learn(a *dockerContainer) {
	born := c.born
	c.dockerContainer = *a
	if c.born = born; born == "" {
		c.born = a.name
	}
}

// event takes one event of the daemon.
func (w *dockerWatch) event(ctx context.Context, e *dockerEvent) bool {
	id := e.Actor.ID
	if e.Type == "network" {
		id = e.Actor.Attributes["container"]
	}
	c := w.containers[id]
	if e.Action == "destroy" || e.Action == "die" {
		if c == nil || e.Type != "container" {
			return true
		}
		if e.Action == "destroy" {
			delete(w.containers, id)
		}
		return w.ended(c)
	}
	if id == "" || e.Type == "network" && e.Action == "create" {
		return true
	}
	if c == nil {
		c = &living{dockerContainer: dockerContainer{id: id}}
		w.containers[id] = c
		c.describe(e)
		w.ask(ctx, c)
	}
	switch e.Action {
	case "rename":
		c.name = e.Actor.Attributes["name"]
		return c.ino == 0 || w.tell(c.ino)
	case "start":
		w.ask(ctx, c)
		c.soon = time.Now().Add(dockerLong)
		return w.locate(c)
	case "connect":
		// The namespace comes in a moment, long before the daemon tells of the start.
		if c.ino == 0 {
			if c.network == "" {
				c.network = networkOf(e)
			}
			c.soon = time.Now().Add(dockerLong)
			return w.locate(c)
		}
	}
	return c.ino == 0 || w.tell(c.ino)
}

// ended forgets the namespace of a container that does not run any more.
func (w *dockerWatch) ended(c *living) bool {
	ino := c.ino
	c.run++
	c.ino, c.path, c.pid, c.main, c.soon = 0, "", 0, 0, time.Time{}
	c.born = c.name
	return ino == 0 || w.tell(ino)
}
