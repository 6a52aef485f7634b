package field

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long changes may take until data passes or is refused as they ask. Within this time the model makes no statement.
const (
	settleCommand = 300 * time.Millisecond  // after a command that waits for the agent
	settleStart   = 1500 * time.Millisecond // after a start, an end, a signal
	settleNetwork = 1500 * time.Millisecond // after changes of interfaces and addresses
	// late is how long after it a difference is tried again: on a busy machine it is no failure yet.
	late = 6 * time.Second
)

// How long attempts take at most.
const (
	longest   = 5 * time.Second        // for what must pass
	shortest  = 300 * time.Millisecond // for what must not, from when it was sent
	handshake = 1200 * time.Millisecond
)

// difference is where the wire is not as the model.
type difference struct {
	kind string // "leak", "outage"
	text string
	at   int // step
	way  *way
}

func (d *difference) Error() string { return d.kind + ": " + d.text }

// runner runs one script.
type runner struct {
	w       *world
	d       *daemon
	m       *model
	flows   map[string]*flow
	settled time.Time // when the last change is over
	paused  bool
	added   []int // ids of rules that the script added
	at      int
	secret  map[string]secret // by token that must never be delivered
	mu      sync.Mutex        // guards secret
	notes   []string
	c       *accounts
}

// secret is where a token was sent that must not be delivered.
type secret struct {
	way
	at int
}

// settings are what a run begins with.
type settings struct {
	exe   string
	flags []string
}

// play runs a script in a world of its own. It returns the first difference, what happened, and an error when the
// world could not be made or a command failed.
func play(s script, with settings) (diff *difference, report string, err error) {
	w, err := newWorld()
	r := &runner{w: w, flows: map[string]*flow{}, secret: map[string]secret{}, c: newAccounts()}
	r.m = newModel(func(name string) string {
		if n := w.nodes[name]; n != nil {
			return n.service
		}
		return name
	})
	r.m.cut = func(name string) bool { return w.nodes[name] == nil || !w.nodes[name].up }
	defer func() {
		for _, f := range r.flows {
			f.c.Close()
		}
		if r.d != nil {
			r.d.close()
		}
		if cerr := w.close(); err == nil {
			err = cerr
		}
	}()
	if err == nil {
		r.d, err = newDaemon(with.exe, w)
	}
	if err != nil {
		return nil, "", err
	}
	r.d.flags = with.flags
	for i, st := range s {
		r.at = i
		begin := time.Now()
		diff, err = r.step(st)
		r.note("%2d  %5.2fs  %s", i, time.Since(begin).Seconds(), st)
		if diff != nil || err != nil {
			break
		}
	}
	if diff == nil && err == nil {
		diff = r.leaked()
	}
	if diff != nil || err != nil {
		r.describe()
	}
	if err != nil {
		err = fmt.Errorf("step %d, %s: %w", r.at, s[r.at], err)
	}
	return diff, strings.Join(r.notes, "\n"), err
}

// describe adds to the report what there is at a difference.
func (r *runner) describe() {
	_, _ = r.show(nil)
	r.note("\nlog:\n%s\ncommands:\n%s", r.d.log.String(), r.w.trace)
}

// show adds to the report what the commands list.
func (r *runner) show(step) (*difference, error) {
	if r.up() {
		for _, c := range []string{"workloads", "groups", "rules", "violations", "connections", "status"} {
			out, err := r.d.do(c)
			r.note("\n$ sluice %s  # %v\n%s", c, err, out)
		}
	}
	return nil, nil
}

func (r *runner) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *runner) step(s step) (*difference, error) {
	return verbs[s[0]](r, s)
}

// up reports whether the daemon answers.
func (r *runner) up() bool { return r.d.cmd != nil && !r.paused }

// change begins the time that a change may take, and keeps what it means for open flows.
func (r *runner) change(d time.Duration) error {
	if until := time.Now().Add(d); until.After(r.settled) {
		r.settled = until
	}
	if err := r.readRules(); err != nil {
		return err
	}
	for _, f := range r.flows {
		if r.m.changed(f); f.refused {
			r.c.doubtful[r.kindOf(f.way)] = true
		}
	}
	return nil
}

func (r *runner) readRules() (err error) {
	if r.up() {
		r.m.rules, err = r.d.rules()
	}
	return err
}

// leaked returns a difference for a token that was delivered after all.
func (r *runner) leaked() *difference {
	for token, s := range r.secret {
		if r.w.seen.has(token) {
			return &difference{"leak", fmt.Sprintf("%s: %s was delivered later", s.way, token), s.at, &s.way}
		}
	}
	return nil
}

// attempt is an exchange and what the model says of it.
type attempt struct {
	way
	id    string // of an open flow; "" for a new one
	f     *flow
	want  expectation
	err   error
	token string
}

// wrong reports whether the wire differs from the model.
func (a *attempt) wrong(l *ledger) bool {
	return a.want == must && a.err != nil || a.want == mustNot && l.has(a.token)
}

// try makes exchanges side by side, and returns the first difference.
func (r *runner) try(all []*attempt) (*difference, error) {
	time.Sleep(time.Until(r.settled))
	if err := r.readRules(); err != nil {
		return nil, err
	}
	for _, a := range all {
		a.want = r.expect(a)
	}
	r.exchange(all)
	r.account(all)
	var bad []*attempt
	for _, a := range all {
		if a.wrong(r.w.seen) {
			bad = append(bad, a)
		}
	}
	if len(bad) == 0 {
		return nil, nil
	}
	// A rule may have been learned meanwhile.
	if err := r.readRules(); err != nil {
		return nil, err
	}
	bad = slices.DeleteFunc(bad, func(a *attempt) bool { return r.expect(a) != a.want })
	if len(bad) == 0 {
		return nil, nil
	}
	if time.Since(r.settled) < late {
		first := bad[0].text()
		time.Sleep(2 * time.Second)
		again := slices.Clone(bad)
		for _, a := range again {
			a.err = nil
		}
		r.exchange(again)
		bad = nil
		for _, a := range again {
			if a.wrong(r.w.seen) {
				bad = append(bad, a)
			}
		}
		if len(bad) == 0 {
			r.note("late: %s", first)
			r.account(again)
			for _, a := range again {
				r.c.doubtful[r.kindOf(a.way)] = true
			}
			return nil, nil
		}
	}
	a := bad[0]
	kind := map[expectation]string{must: "outage", mustNot: "leak"}[a.want]
	return &difference{kind, fmt.Sprintf("%s (and %d more)", a.text(), len(bad)-1), r.at, &a.way}, nil
}

func (a *attempt) text() string {
	name := "new"
	if a.id != "" {
		name = "open " + a.id
	}
	return fmt.Sprintf("%s %s: %s, but %s: %v", name, a.way, a.want, a.token, a.err)
}

// expect asks the model about an attempt.
func (r *runner) expect(a *attempt) expectation {
	e := r.m.judge(a.way)
	if a.id != "" {
		e = r.m.judgeFlow(a.f)
	}
	if e == must && !r.m.reaches(a.way) {
		return either
	}
	return e
}

// exchange makes each exchange once.
func (r *runner) exchange(all []*attempt) {
	var wg sync.WaitGroup
	for _, a := range all {
		wg.Go(func() { r.one(a) })
	}
	wg.Wait()
}

// one makes an exchange, over a new connection unless a flow is given, which is left open then.
func (r *runner) one(a *attempt) {
	a.token = token()
	if a.want == mustNot {
		r.mu.Lock()
		r.secret[a.token] = secret{a.way, r.at}
		r.mu.Unlock()
	}
	open, answer := handshake, shortest
	if a.want == must {
		open, answer = longest, longest
	}
	if a.id == "" {
		f, err := r.w.open(a.way, open)
		if err != nil {
			a.err = err
			return
		}
		defer f.c.Close()
		a.f = f
	}
	if a.f.half {
		a.err = a.f.listen(r.w.seen, a.token, answer)
	} else {
		a.err = a.f.exchange(a.token, answer)
	}
	if a.err != nil && (a.f.tcp() || a.want == must) {
		a.f.broken = true
	}
}
