package embedded

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/sluicenet/sluice/store"
)

var _ store.Prober = (*Store)(nil)

// Probe reads the file's revision. It implements store.Prober.
func (s *Store) Probe(ctx context.Context) (h store.Health, err error) {
	err = s.view(ctx, func(_ *bbolt.Bucket, rev store.Revision) error {
		h.Revision = rev
		return nil
	})
	return h, err
}
