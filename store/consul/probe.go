package consul

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/store"
)

var _ store.Prober = (*Store)(nil)

// probeTime bounds the request to one server.
const probeTime = 2 * time.Second

// Probe requests Consul's leader from one server after the other and reads a key through it, because a
// server may answer without a quorum. It implements store.Prober.
func (s *Store) Probe(ctx context.Context) (h store.Health, err error) {
	for range s.clients {
		err = s.doRequest(ctx, probeTime, func(ctx context.Context, c *api.Client) (err error) {
			h, err = probe(ctx, c, s.objects)
			return err
		})
		var no refused
		if err == nil || ctx.Err() != nil || errors.As(err, &no) || errors.Is(err, store.ErrClosed) {
			break
		}
	}
	if err != nil {
		return store.Health{}, fmt.Errorf("ask consul: %w", err)
	}
	return h, nil
}

func probe(ctx context.Context, c *api.Client, key string) (h store.Health, err error) {
	q := (&api.QueryOptions{}).WithContext(ctx)
	if h.Leader, err = c.Status().LeaderWithQueryOptions(q); err != nil {
		return h, err
	}
	if h.Leader == "" {
		return h, errors.New("no server leads")
	}
	_, meta, err := c.KV().Keys(key+"leader", "", q)
	if err != nil {
		return h, err
	}
	h.Revision = store.Revision(meta.LastIndex)
	return h, nil
}
