package agent

// startup is the progress until all initially discovered workloads are attached.
type startup struct {
	ready    chan struct{} // closed then
	unsynced int           // sources that are not synced yet
	done     bool          // ready is closed
}

func newStartup(sources int) startup { return startup{ready: make(chan struct{}), unsynced: sources} }

// synced reports whether all sources have listed their workloads.
func (s *startup) synced() bool { return s.unsynced <= 0 }

// finish closes ready, once.
func (s *startup) finish() {
	if !s.done {
		s.done = true
		close(s.ready)
	}
}
