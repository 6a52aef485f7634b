package offload

import (
	"sync"

	"github.com/sluicenet/sluice/core/backend"
)

// Recall brings the offloaded flows of one attachment back. Its methods may be called from
// any goroutine; they take as long as the kernel does.
type Recall struct {
	r backend.Recaller // nil: no flow of the attachment can be offloaded

	mu     sync.Mutex
	at     uint32 // the present generation; guarded by mu
	closed bool   // guarded by mu
}

// NewRecall returns the Recall of an attachment.
func NewRecall(a backend.Attachment) *Recall {
	r, _ := a.(backend.Recaller)
	return &Recall{r: r}
}

// To makes a generation the present one: flows offloaded with another return to their queues
// before To returns. It does nothing for generation 0 and after Close.
func (r *Recall) To(generation uint32) error {
	if r.r == nil || generation == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.at == generation {
		return nil
	}
	if err := r.r.Recall(generation); err != nil {
		return err
	}
	r.at = generation
	return nil
}

// Close ends recalling, before the attachment closes.
func (r *Recall) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// Stays returns the reason why no flow of the attachment can be offloaded; "" where flows
// can, and where the attachment has no queues of that kind.
func (r *Recall) Stays(fail backend.FailMode) string {
	switch {
	case r.r == nil:
		return ""
	case fail == backend.FailClosed:
		return "its group fails closed"
	}
	return r.r.Stays()
}
