package consul

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/store"
)

// keyDeleted is written with every deletion: its revision is that of the latest deletion, which Consul does
// not keep.
const keyDeleted = "deleted"

// maxTxn is Consul's limit of operations in a transaction.
const maxTxn = 128

// Commit applies all operations or none.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	return s.commit(ctx, nil, ops)
}

func (s *Store) commit(ctx context.Context, fence *lead, ops []store.Op) (store.Revision, error) {
	if err := store.Check(ops); err != nil {
		return 0, err
	}
	if fence != nil && len(ops) == 1 && ops[0].Size() > store.MaxCommit {
		// Consul cannot check the leadership in a write of this size.
		return 0, fmt.Errorf("%w: %d bytes, through a fence of %d at most", store.ErrTooLarge, ops[0].Size(), store.MaxCommit)
	}
	// The flags make every value unique, because Consul does not change the index of a key on a write of the
	// same value. They also show whether a write with a lost response was applied.
	w := &write{s: s, fence: fence, ops: ops, nonce: rand.Uint64() | 1}
	rev, err := w.run(ctx)
	if err != nil {
		return 0, fmt.Errorf("commit of %d operations: %w", len(ops), err)
	}
	return rev, nil
}

// write is one Commit in progress.
type write struct {
	s     *Store
	fence *lead
	ops   []store.Op
	nonce uint64
	tries int // that may have been applied
}

// run retries the write while it is certain to be applied once only.
func (w *write) run(ctx context.Context) (store.Revision, error) {
	txn := w.txn()
	if len(txn) > maxTxn {
		return 0, fmt.Errorf("%w: %d operations with their checks", store.ErrTooLarge, len(txn))
	}
	do := func(ctx context.Context, c *api.Client) (store.Revision, error) { return w.transact(ctx, c, txn) }
	if len(w.ops) == 1 && w.ops[0].Size() > store.MaxCommit {
		do = w.putValue
	}
	var rev store.Revision
	err := w.s.retry(ctx, func(ctx context.Context, c *api.Client) (err error) {
		if w.tries > 0 {
			// The previous try may have been applied without a response.
			if rev, err = w.done(ctx, c); err != nil || rev != 0 {
				return err
			}
		}
		rev, err = do(ctx, c)
		if err != nil && !untouched(err) {
			w.tries++
		}
		return err
	}, func(error) bool { return true })
	if w.tries > 0 && errors.Is(err, store.ErrConflict) {
		// The conflict may be with this write's own earlier try, overwritten by now.
		return 0, fmt.Errorf("after an answer was lost, so it is unknown whether it was done: %w", err)
	}
	return rev, err
}

// txn returns the operations in Consul's form.
func (w *write) txn() api.TxnOps {
	var out api.TxnOps
	add := func(op api.KVTxnOp) { out = append(out, &api.TxnOp{KV: &op}) }
	if w.fence != nil {
		add(api.KVTxnOp{Verb: api.KVCheckSession, Key: w.fence.key, Session: w.fence.session})
	}
	deleted := false
	for _, op := range w.ops {
		key, index := w.s.objects+escape(op.Key), uint64(op.Revision)
		switch {
		case op.Delete && op.Revision == 0:
			add(api.KVTxnOp{Verb: api.KVCheckNotExists, Key: key})
		case op.Delete:
			deleted = true
			if op.Revision != store.Any {
				add(api.KVTxnOp{Verb: api.KVCheckIndex, Key: key, Index: index})
			}
			add(api.KVTxnOp{Verb: api.KVDelete, Key: key})
		case op.Revision == store.Any:
			add(api.KVTxnOp{Verb: api.KVSet, Key: key, Value: op.Value, Flags: w.nonce})
		default:
			add(api.KVTxnOp{Verb: api.KVCAS, Key: key, Value: op.Value, Flags: w.nonce, Index: index})
		}
	}
	if deleted {
		add(api.KVTxnOp{Verb: api.KVSet, Key: w.s.inner + keyDeleted, Value: binary.BigEndian.AppendUint64(nil, w.nonce), Flags: w.nonce})
	}
	return out
}

// transact applies the whole in one transaction.
func (w *write) transact(ctx context.Context, c *api.Client, txn api.TxnOps) (store.Revision, error) {
	if len(txn) == 0 {
		return 0, nil
	}
	ok, res, _, err := c.Txn().Txn(txn, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return 0, err
	}
	if !ok {
		if len(res.Errors) == 0 {
			return 0, refused{errors.New("transaction not done, without a reason")}
		}
		why := res.Errors[0]
		if w.fence != nil && why.OpIndex == 0 {
			return 0, refused{fmt.Errorf("%w: %s", store.ErrNotLeading, why.What)}
		}
		return 0, refused{fmt.Errorf("%w: %s", store.ErrConflict, why.What)}
	}
	var rev uint64
	for _, r := range res.Results {
		if r.KV != nil && r.KV.Flags == w.nonce {
			rev = max(rev, r.KV.ModifyIndex)
		}
	}
	return store.Revision(rev), nil
}

// putValue writes one value that is too large for a transaction, which would encode it in base64.
func (w *write) putValue(ctx context.Context, c *api.Client) (store.Revision, error) {
	op := w.ops[0]
	o := (&api.WriteOptions{}).WithContext(ctx)
	pair := &api.KVPair{Key: w.s.objects + escape(op.Key), Value: op.Value, Flags: w.nonce}
	if op.Revision == store.Any {
		if _, err := c.KV().Put(pair, o); err != nil {
			return 0, err
		}
	} else {
		pair.ModifyIndex = uint64(op.Revision)
		ok, _, err := c.KV().CAS(pair, o)
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, refused{store.ErrConflict}
		}
	}
	rev, err := w.done(ctx, c)
	if err == nil && rev == 0 {
		// Overwritten already, by a later writer.
		_, meta, gerr := c.KV().Get(pair.Key, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
		if gerr != nil {
			return 0, gerr
		}
		rev = store.Revision(meta.LastIndex)
	}
	return rev, err
}

// done returns the revision of the applied write; 0 if there is no sign of it.
func (w *write) done(ctx context.Context, c *api.Client) (store.Revision, error) {
	key := w.s.inner + keyDeleted
	for _, op := range w.ops {
		if !op.Delete {
			key = w.s.objects + escape(op.Key)
			break
		}
	}
	p, _, err := c.KV().Get(key, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil || p == nil || p.Flags != w.nonce {
		return 0, err
	}
	return store.Revision(p.ModifyIndex), nil
}
