package path

import (
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

// sentFrames is a queue's exit that keeps what is sent and discarded.
type sentFrames struct{ sent, discarded []string }

func (s *sentFrames) Send(f *packet.Frame) error {
	s.sent = append(s.sent, string(f.Data))
	return nil
}
func (s *sentFrames) Discard(f *packet.Frame) { s.discarded = append(s.discarded, string(f.Data)) }

// TestPort: what other workers post is copied, sent in order by the port's own worker and only then, and
// bounded.
func TestPort(t *testing.T) {
	q, woken := &sentFrames{}, 0
	x := &Port{sender: q, holder: q, wake: func() { woken++ }}
	data := []byte("one")
	if !x.post(&packet.Frame{Data: data}, false) || !x.post(&packet.Frame{Data: []byte("two")}, false) || !x.post(&packet.Frame{}, true) {
		t.Fatal("not posted")
	}
	copy(data, "xxx")
	if len(q.sent) != 0 || woken != 3 {
		t.Errorf("sent %q and woken %d times before the worker flushes", q.sent, woken)
	}
	if failed := x.Flush(); failed != 0 || len(q.sent) != 2 || q.sent[0] != "one" || q.sent[1] != "two" || len(q.discarded) != 1 {
		t.Errorf("%d failed, sent %q, discarded %q", failed, q.sent, q.discarded)
	}
	if x.Flush(); len(q.sent) != 2 {
		t.Errorf("sent twice: %q", q.sent)
	}
	fitted := 0
	for range 2 * maxPosted {
		if x.post(&packet.Frame{}, false) {
			fitted++
		}
	}
	if fitted != maxPosted {
		t.Errorf("%d frames fit, want %d", fitted, maxPosted)
	}
	if tap := (&Port{wake: func() {}}); tap.post(&packet.Frame{}, false) || tap.some.Load() {
		t.Error("a frame was posted where nothing can be sent")
	}
}
