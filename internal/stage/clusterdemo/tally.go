package clusterdemo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

// absences are the times when a node has no agent that sees what happens.
type absences struct {
	mu   sync.Mutex
	list []window
}

// window is one of them; to is zero while it lasts.
type window struct{ from, to time.Time }

// What an agent saw in the last moment before it is killed is lost with it: README and
// docs/architecture.md promise a second. One that is stopped loses nothing that it saw, but what is on
// its way then goes by without it.
const (
	lostByKill = time.Second
	lostByStop = 200 * time.Millisecond
)

func (a *absences) open(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, window{from: at})
}

func (a *absences) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list[len(a.list)-1].to = time.Now()
}

// overlap reports whether no agent ran at some time of an attempt.
func (a *absences) overlap(at *attempt) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.list, func(w window) bool { return at.end.After(w.from) && (w.to.IsZero() || at.begin.Before(w.to)) })
}

// bounds is how many connections of a kind the controllers must know: those that an agent was there for,
// and at most those that were made.
type bounds struct{ least, most int }

// bounds are what must be known of the attempts so far.
func (d *demo) bounds() map[key]bounds {
	out := map[key]bounds{}
	for _, a := range d.run.all() {
		b := out[a.key]
		b.most++
		if !d.hosts[a.client].node.away.overlap(&a) {
			b.least++
		}
		out[a.key] = b
	}
	return out
}

// all are the attempts that have ended.
func (t *traffic) all() []attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done[:len(t.done):len(t.done)]
}

// trouble is what went wrong with attempts so far: what is allowed must work, whoever is away, and what is
// not must be refused as long as one end's agent is there.
func (d *demo) trouble() map[string]int {
	out := map[string]int{}
	for _, a := range d.run.all() {
		unwatched := d.nodes[0].away.overlap(&a) || d.nodes[1].away.overlap(&a)
		switch {
		case a.client != "intruder" && a.err != nil:
			out[fmt.Sprintf("%s: %v", a.key, a.err)]++
		case a.client == "intruder" && a.err == nil:
			out[fmt.Sprintf("%s: got through", a.key)]++
		case a.client == "intruder" && !refused(a.err) && !unwatched && a.port != portEcho:
			out[fmt.Sprintf("%s: not refused at once: %v", a.key, a.err)]++
		}
	}
	return out
}

// firstTrouble is one of them, as an error.
func (d *demo) firstTrouble() error {
	for text, n := range d.trouble() {
		return fmt.Errorf("%s (%d times)", text, n)
	}
	return nil
}

// known is what a controller has of connections to api.
func (d *demo) known(ctx context.Context, p *process) (map[key]int, error) {
	res, err := p.api.ListConnections(ctx, &controlv1.ListConnectionsRequest{})
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	out := map[key]int{}
	for _, e := range res.Edges {
		if e.To == "svc:default/api" {
			out[key{e.FromWorkload, uint16(e.Port), vocab.Text(e.Family)}] += int(e.Sessions)
		}
	}
	return out, nil
}

// settled is how long the controller's counts must stay the same to be believed.
const settled = 2 * time.Second

// compare waits until the controller's counts stay the same, for a while at most if they are not those of
// the clients, and reports what is wrong with them.
func (d *demo) compare(ctx context.Context, want map[key]bounds) (known map[key]int, wrong []string, err error) {
	var since time.Time
	for end := time.Now().Add(30 * time.Second); ; {
		got, err := d.known(ctx, d.controllers[0])
		if err != nil {
			if time.Now().After(end) {
				return nil, nil, err
			}
			got = nil
		}
		if !maps.Equal(got, known) || since.IsZero() {
			known, since = got, time.Now()
		}
		wrong = compare(got, want)
		if time.Since(since) > settled && (len(wrong) == 0 || time.Now().After(end)) {
			return known, wrong, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return known, wrong, err
		}
	}
}

// compare returns the differences from the known connections.
func compare(known map[key]int, want map[key]bounds) (wrong []string) {
	for k, b := range want {
		switch n := known[k]; {
		case n < b.least:
			wrong = append(wrong, fmt.Sprintf("%s: %d connections were made, %d of them while an agent was there, and %d are known", k, b.most, b.least, n))
		case n > b.most:
			wrong = append(wrong, fmt.Sprintf("%s: %d connections were made, and %d are known", k, b.most, n))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// sum adds up what was made and what is known, of the intruder or of the others.
func sum(want map[key]bounds, known map[key]int, intruder bool) (made, unwatched, found int) {
	for k, b := range want {
		if (k.client == "intruder") == intruder {
			made, unwatched, found = made+b.most, unwatched+b.most-b.least, found+known[k]
		}
	}
	return made, unwatched, found
}

// sleep waits; the error is the reason for an early end.
func sleep(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return errors.Join(errors.New("interrupted"), ctx.Err())
	case <-time.After(t):
		return nil
	}
}
