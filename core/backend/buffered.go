package backend

// Buffered is a queue whose frames may lie where Recv does not find them yet. Waiting says whether
// some do. The worker that drives the queue calls it.
type Buffered interface{ Waiting() bool }
