package agent

import "sync"

// width is how many workloads are attached or detached at once. Most of the time of one is waiting for the
// kernel, which synchronises its processors.
const width = 16

// sideBySide calls fn for each element of a list, for several at once, in the list's order, and returns when all
// calls have returned.
func sideBySide[T any](list []T, fn func(T)) {
	if len(list) == 1 {
		fn(list[0])
		return
	}
	next := make(chan T)
	var workers sync.WaitGroup
	for range min(width, len(list)) {
		workers.Go(func() {
			for x := range next {
				fn(x)
			}
		})
	}
	for _, x := range list {
		next <- x
	}
	close(next)
	workers.Wait()
}
