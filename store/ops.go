package store

import (
	"fmt"
	"iter"
	"strings"
)

// MaxKey is the longest key, bytes.
const MaxKey = 480

// MaxCommit is the maximum total size of keys and values in one Commit of several operations. It keeps a
// Commit, as JSON with values in base64, within Consul's limit of 512 KiB for a transaction.
const MaxCommit = 360 << 10

// Size returns the size of an operation towards MaxCommit.
func (o *Op) Size() int { return len(o.Key) + len(o.Value) }

// Check returns an error for operations that are invalid regardless of the store's contents. Every
// implementation applies it.
func Check(ops []Op) error {
	if len(ops) > MaxOps {
		return fmt.Errorf("%w: %d operations", ErrTooLarge, len(ops))
	}
	total := 0
	seen := make(map[string]struct{}, len(ops))
	for i := range ops {
		op := &ops[i]
		if len(op.Value) > MaxValue {
			return fmt.Errorf("%w: %d bytes for %q", ErrTooLarge, len(op.Value), op.Key)
		}
		if op.Key == "" || len(op.Key) > MaxKey || strings.HasPrefix(op.Key, "/") {
			return fmt.Errorf("key %.64q: it must be 1 to %d bytes and not begin with a slash", op.Key, MaxKey)
		}
		if _, twice := seen[op.Key]; twice {
			return fmt.Errorf("key %q: it stands twice in one commit", op.Key)
		}
		seen[op.Key] = struct{}{}
		total += op.Size()
	}
	if len(ops) > 1 && total > MaxCommit {
		return fmt.Errorf("%w: %d bytes in one commit of %d operations, of %d at most", ErrTooLarge, total, len(ops), MaxCommit)
	}
	return nil
}

// Chunks splits operations, in order, into pieces that fit one Commit each.
func Chunks(ops []Op) iter.Seq[[]Op] {
	return func(yield func([]Op) bool) {
		for len(ops) > 0 {
			n, total := 0, 0
			for n < len(ops) && n < MaxOps && (n == 0 || total+ops[n].Size() <= MaxCommit) {
				total += ops[n].Size()
				n++
			}
			if !yield(ops[:n]) {
				return
			}
			ops = ops[n:]
		}
	}
}
