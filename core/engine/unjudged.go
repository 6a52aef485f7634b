package engine

// passedUnjudged counts a frame that passes because there was no room for its session.
func (w *worker) passedUnjudged(v *view, t *tally) {
	w.cause = noCause
	if v.inline {
		t.n[atUnjudged]++
	}
}
