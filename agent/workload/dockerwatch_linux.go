package workload

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sluicenet/sluice/internal/backoff"
)

// dockerNews is a message of the daemon; one of its fields is set.
type dockerNews struct {
	event *dockerEvent
	// about is the response of inspect for a container in its run number run.
	about *dockerContainer
	run   uint64
	// all is every container, after a connection was made.
	all    []dockerContainer
	listed bool
	// away is the reason why there is no connection.
	away error
}

// container is a container as the watch follows it.
type container struct {
	dockerContainer
	run uint64 // counts its runs
	// ino and path are its network namespace; 0 and "" while unknown.
	ino  uint64
	path string
	// main is its first process by inspect; 0 before the response.
	main int
	// soon is until when the fast poll searches its namespace.
	soon time.Time
}

// dockerWatch is one run of Docker.Watch. Everything but subs and inspectContainer runs on its caller's goroutine.
type dockerWatch struct {
	src    *Docker
	yield  func(Event) bool
	subs   *subscriptions
	groups *controlGroups
	news   chan dockerNews
	asking chan struct{} // bounds concurrent requests
	wg     sync.WaitGroup

	containers map[string]*container
	reported   map[uint64]map[string]Workload // by namespace and workload id
	bare       map[uint64]time.Time           // namespaces without an address yet, until when they are polled
	away       string                         // why the daemon does not answer; "" while it does
	synced     bool
}

const (
	dockerSoon  = 5 * time.Millisecond // between polls for a namespace that is about to exist
	dockerLong  = 30 * time.Second     // duration of these polls
	dockerBare  = 3 * time.Second      // for its addresses; later ones are notified
	dockerCheck = time.Second          // between checks for namespaces that ended without an event
	dockerAsks  = 8
)

func newDockerWatch(d *Docker) (*dockerWatch, error) {
	subs, err := newSubscriptions()
	if err != nil {
		return nil, err
	}
	return &dockerWatch{src: d, subs: subs, groups: mountedGroups(), news: make(chan dockerNews, 64), asking: make(chan struct{}, dockerAsks),
		containers: map[string]*container{}, reported: map[uint64]map[string]Workload{}, bare: map[uint64]time.Time{}}, nil
}

// run runs until ctx or the caller's loop ends.
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
			ok = w.handleNews(ctx, &n)
		case ino := <-w.subs.changed:
			ok = w.reportChanges(ino)
		case <-soon.C:
			ok = w.search(time.Now())
		case <-check.C:
			ok = w.verify()
		}
	}
}

// follow reads the daemon's events and reconnects whenever the connection ends.
func (w *dockerWatch) follow(ctx context.Context) {
	again := backoff.Backoff{First: dockerFirstWait, Last: dockerLastWait}
	for ctx.Err() == nil {
		opened := func() error {
			all, err := w.list(ctx)
			if err == nil {
				again.Reset()
				w.sendNews(ctx, dockerNews{all: all, listed: true})
			}
			return err
		}
		err := w.src.api.events(ctx, opened, func(e *dockerEvent) { w.sendNews(ctx, dockerNews{event: e}) })
		w.sendNews(ctx, dockerNews{away: err})
		again.Wait(ctx)
	}
}

func (w *dockerWatch) sendNews(ctx context.Context, n dockerNews) {
	select {
	case w.news <- n:
	case <-ctx.Done():
	}
}

// list returns every container, with the process of those that run.
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

// inspectContainer requests the details of a container; the response arrives as news.
func (w *dockerWatch) inspectContainer(ctx context.Context, c *container) {
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
			w.sendNews(ctx, dockerNews{about: &a, run: run})
		} else if !errors.Is(err, errNoContainer) && ctx.Err() == nil {
			w.src.cfg.Logger.Warn("container not inspected", "container", id, "error", err)
		}
	})
}

func (w *dockerWatch) handleNews(ctx context.Context, n *dockerNews) bool {
	switch {
	case n.event != nil:
		return w.event(ctx, n.event)
	case n.about != nil:
		c := w.containers[n.about.id]
		if c == nil {
			return true
		}
		pid := c.pid
		c.update(n.about)
		if c.run == n.run {
			c.main = n.about.pid
			w.groups.learnLayout(c.id, c.main)
		}
		if pid != 0 || c.run != n.run {
			c.pid = pid // the response may be older than the known state
		}
		return w.locate(c)
	case n.listed:
		return w.replace(n.all)
	}
	why := unreachable(n.away).Error()
	if w.away == "" {
		w.src.cfg.Logger.Warn("docker does not answer, retrying", "endpoint", w.src.cfg.Endpoint, "error", why)
	}
	if w.away != why && !w.setNote("docker "+w.src.cfg.Endpoint+": "+why) {
		return false
	}
	w.away = why
	return w.sync()
}

// setNote sets the note on the daemon; "" clears it.
func (w *dockerWatch) setNote(text string) bool {
	return w.yield(Event{Kind: Noted, About: "docker " + w.src.cfg.Endpoint, Note: text})
}

// sync reports, once, that all initial workloads are reported.
func (w *dockerWatch) sync() bool {
	if w.synced {
		return true
	}
	w.synced = true
	return w.yield(Event{Kind: Synced})
}

// replace applies the list of a reconnected daemon and reports the difference.
func (w *dockerWatch) replace(all []dockerContainer) bool {
	if w.away != "" {
		w.src.cfg.Logger.Info("docker answers again", "endpoint", w.src.cfg.Endpoint, "containers", len(all))
		if !w.setNote("") {
			return false
		}
	}
	w.away = ""
	there := map[string]bool{}
	for i := range all {
		there[all[i].id] = true
		c := w.containers[all[i].id]
		if c != nil && all[i].pid != c.pid && !w.dropNamespace(c) {
			return false
		}
		if c == nil {
			c = &container{}
			w.containers[all[i].id] = c
		}
		c.update(&all[i])
		c.main = c.pid
		w.groups.learnLayout(c.id, c.main)
	}
	for _, id := range sortedKeys(w.containers) {
		if c := w.containers[id]; !there[id] {
			delete(w.containers, id)
			if !w.dropNamespace(c) {
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

// update applies the daemon's data on a container.
func (c *container) update(a *dockerContainer) {
	born := c.born
	c.dockerContainer = *a
	if c.born = born; born == "" {
		c.born = a.name
	}
}

// event handles one event of the daemon.
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
		return w.dropNamespace(c)
	}
	if id == "" || e.Type == "network" && e.Action == "create" {
		return true
	}
	if c == nil {
		c = &container{dockerContainer: dockerContainer{id: id}}
		w.containers[id] = c
		c.describe(e)
		w.inspectContainer(ctx, c)
	}
	switch e.Action {
	case "rename":
		c.name = e.Actor.Attributes["name"]
		return c.ino == 0 || w.reportChanges(c.ino)
	case "start":
		w.inspectContainer(ctx, c)
		c.soon = time.Now().Add(dockerLong)
		return w.locate(c)
	case "connect":
		// The namespace appears soon, long before the daemon reports the start.
		if c.ino == 0 {
			if c.network == "" {
				c.network = networkOf(e)
			}
			c.soon = time.Now().Add(dockerLong)
			return w.locate(c)
		}
	}
	return c.ino == 0 || w.reportChanges(c.ino)
}

// dropNamespace deletes the namespace of a container that no longer runs.
func (w *dockerWatch) dropNamespace(c *container) bool {
	ino := c.ino
	c.run++
	c.ino, c.path, c.pid, c.main, c.soon = 0, "", 0, 0, time.Time{}
	c.born = c.name
	return ino == 0 || w.reportChanges(ino)
}
