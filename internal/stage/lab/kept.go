package lab

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Kept is a connection that is opened once and used again and again. It is broken when
// that one connection fails; it is never opened again.
type Kept struct {
	Name string

	mu    sync.Mutex
	use   func(context.Context) error
	close func()
	uses  atomic.Int64
	err   error // guarded by mu
}

// Use uses the connection once more.
func (k *Kept) Use(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if err := k.use(ctx); err != nil {
		k.err = fmt.Errorf("%s: %w", k.Name, err)
		return k.err
	}
	k.uses.Add(1)
	return nil
}

// Uses is how often it was used.
func (k *Kept) Uses() int64 { return k.uses.Load() }

// Keep opens the lab's long-lived connections: a database session and a subscription-like
// connection to the cache, one of each family.
func (l *Lab) Keep(ctx context.Context) ([]*Kept, error) {
	var out []*Kept
	for _, suffix := range []string{"4", "6"} {
		db, err := dialDB(ctx, l.hosts["api"], l.hosts["db"].Addr("tcp"+suffix, portDB), suffix)
		if err != nil {
			return out, fmt.Errorf("open a database session: %w", err)
		}
		out = append(out, l.keep("api to db, postgresql over ipv"+suffix, func(ctx context.Context) error { return query(ctx, db) },
			func() { _ = db.Close(context.Background()) }))
		conn, err := l.hosts["api"].Dial(ctx, "tcp"+suffix, l.hosts["cache"].Addr("tcp"+suffix, portRedis))
		if err != nil {
			return out, fmt.Errorf("open a cache connection: %w", err)
		}
		out = append(out, l.keep("api to cache, redis over ipv"+suffix, func(ctx context.Context) error { return ping(ctx, conn) }, func() { conn.Close() }))
	}
	return out, nil
}

func (l *Lab) keep(name string, use func(context.Context) error, closing func()) *Kept {
	k := &Kept{Name: name, use: use, close: closing}
	l.stops = append(l.stops, closing)
	return k
}

// ping asks redis over a bare connection, so that no client library can open another in secret.
func ping(ctx context.Context, c net.Conn) error {
	deadline(ctx, c)
	if _, err := c.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		return err
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if got := string(buf[:n]); got != "+PONG\r\n" {
		return fmt.Errorf("answer %q, want +PONG", got)
	}
	return nil
}
