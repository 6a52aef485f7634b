package agent

import (
	"log/slog"
	"maps"
	"slices"
)

// notices are the notes of sources, and the warnings that were logged last.
type notices struct {
	log    *slog.Logger
	notes  map[string]string // by subject
	logged []string
}

func newNotices(log *slog.Logger) *notices { return &notices{log: log, notes: map[string]string{}} }

// set replaces the note on a subject; "" removes it.
func (n *notices) set(about, note string) {
	if note == "" {
		delete(n.notes, about)
		return
	}
	n.notes[about] = note
}

// list returns the notes, ordered by their subjects.
func (n *notices) list() []string {
	var out []string
	for _, about := range slices.Sorted(maps.Keys(n.notes)) {
		out = append(out, n.notes[about])
	}
	return out
}

// logNew logs the warnings that were not there at the last call.
func (n *notices) logNew(warnings []string) {
	for _, text := range warnings {
		if !slices.Contains(n.logged, text) {
			n.log.Warn(text)
		}
	}
	n.logged = warnings
}
