package backend

// Buffered is a queue that may buffer frames that Recv does not see yet. Waiting reports
// whether there are any. The worker that drives the queue calls it.
type Buffered interface{ Waiting() bool }
