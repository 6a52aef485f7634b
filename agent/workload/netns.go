package workload

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// NetNSDir is where `ip netns` and most container engines name network namespaces.
const NetNSDir = "/run/netns"

// NetNSConfig selects the named network namespaces that are workloads. The zero value selects all of
// NetNSDir.
type NetNSConfig struct {
	// Dir holds the named namespaces; NetNSDir if empty.
	Dir string
	// Patterns are globs of namespace names; empty is all. A name without * ? [ must
	// exist when the source is made.
	Patterns []string
	// File describes namespaces: names, services, labels, exclusions (docs/user-guide.md). Its
	// changes are applied during Watch.
	File string
	// Node is the node of every workload.
	Node string
	// Logger logs waits and their reasons; none if nil.
	Logger *slog.Logger
	// Settle is how long changes are gathered before they are reported; 15 ms if 0.
	Settle time.Duration
	// Poll is the interval of full scans without a notification; 5 s if 0.
	Poll time.Duration
}

// NetNS is the Source of named network namespaces.
type NetNS struct {
	cfg   NetNSConfig
	descs []Description
	file  []byte // source of descs
}

var _ Source = (*NetNS)(nil)

// NewNetNS checks the patterns and reads the file. A plain name that does not exist, a
// pattern that is not one and a file with an error are errors for the operator.
func NewNetNS(cfg NetNSConfig) (*NetNS, error) {
	if cfg.Dir == "" {
		cfg.Dir = NetNSDir
	}
	if cfg.Settle == 0 {
		cfg.Settle = 15 * time.Millisecond
	}
	if cfg.Poll == 0 {
		cfg.Poll = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &NetNS{cfg: cfg}
	if cfg.File != "" {
		var err error
		if s.file, err = readFile(cfg.File); err != nil {
			return nil, err
		}
		if s.descs, err = parseFile(cfg.File, s.file); err != nil {
			return nil, err
		}
	}
	return s, s.checkPatterns()
}

func (s *NetNS) checkPatterns() error {
	known := names(s.cfg.Dir)
	for _, p := range s.cfg.Patterns {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("%q is not a pattern: a [ needs its ]; use names or globs such as 'shop-*'", p)
		}
		if slices.ContainsFunc(known, func(n string) bool { return match(p, n) }) {
			continue
		}
		if !isGlob(p) {
			return fmt.Errorf("there is no network namespace %q in %s (%s): create it with `ip netns add %s`, or give a pattern such as '%s*' to wait for it",
				p, s.cfg.Dir, knownText(known), p, p)
		}
		s.cfg.Logger.Warn("no namespace matches yet", "pattern", p, "known", strings.TrimPrefix(knownText(known), knownPrefix))
	}
	return nil
}

// named reports whether a pattern is the exact name of a namespace.
func (s *NetNS) named(name string) bool {
	return slices.Contains(s.cfg.Patterns, name) || slices.ContainsFunc(s.descs, func(d Description) bool { return d.NetNS == name })
}

// wanted reports whether a namespace of that name belongs to the source, and returns its description.
func (s *NetNS) wanted(name string) (Description, bool) {
	d := Description{}
	for _, x := range s.descs {
		if match(x.NetNS, name) {
			d = x
			break
		}
	}
	if d.Exclude {
		return d, false
	}
	if len(s.cfg.Patterns) == 0 {
		return d, true
	}
	return d, slices.ContainsFunc(s.cfg.Patterns, func(p string) bool { return match(p, name) })
}

// describe returns the workload of a namespace from its name, its interfaces and its description.
func (s *NetNS) describe(name string, d Description, ifs []Interface) Workload {
	w := Workload{
		ID: "netns:" + name, Name: name, Namespace: "default", Node: s.cfg.Node, Source: "netns",
		NetNS: path.Join(s.cfg.Dir, name), Interfaces: ifs, Labels: d.Labels,
	}
	if d.Name != "" {
		w.Name = d.Name
	}
	if d.Namespace != "" {
		w.Namespace = d.Namespace
	}
	w.Service = d.Service
	if w.Service == "" {
		w.Service = w.Name
	}
	return w
}

// Watch reports the workloads. It runs in the caller's goroutine; ending the loop or ctx ends it.
func (s *NetNS) Watch(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w, err := newWatcher(s)
		if err != nil {
			yield(Event{}, fmt.Errorf("watch %s: %w", s.cfg.Dir, err))
			return
		}
		defer w.close()
		w.yield = func(e Event) bool { return yield(e, nil) }
		if !w.scan(true) || !yield(Event{Kind: Synced}, nil) {
			return
		}
		w.run(ctx)
	}
}

// names lists the files of a directory of namespaces, sorted; nothing if it is not there.
func names(dir string) []string {
	es, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(es))
	for _, e := range es {
		out = append(out, e.Name())
	}
	return out
}

// knownPrefix begins a list of known namespaces in an error.
const knownPrefix = "known: "

func knownText(known []string) string {
	const most = 12
	switch {
	case len(known) == 0:
		return "there are none"
	case len(known) > most:
		return knownPrefix + strings.Join(known[:most], ", ") + fmt.Sprintf(" and %d more", len(known)-most)
	}
	return knownPrefix + strings.Join(known, ", ")
}

func isGlob(p string) bool { return strings.ContainsAny(p, `*?[\`) }

func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}
