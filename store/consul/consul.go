// Package consul implements store.Store for many machines: objects are keys of Consul's KV, watches are its
// blocking queries, and leadership is a lock of a session. It replicates nothing itself and keeps no
// copy of what is stored.
package consul

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/store"
)

// Options configure a store; the zero value is a Consul agent on this machine.
type Options struct {
	// Addresses are servers or agents, "host:port"; if one does not answer, the next is used.
	// The default is CONSUL_HTTP_ADDR, or 127.0.0.1:8500.
	Addresses []string
	// Prefix is the prefix of every key; "" is "sluice".
	Prefix string
	// TLS enables HTTPS.
	TLS bool
	// Access holds the client's credentials.
	Access Access
	// Patience is how long an operation is retried while no server answers or leads; 0 is 15 s.
	Patience time.Duration
	// Silence is how long a leader may be silent, while Consul works, before another replaces it; 0 is 4 s.
	Silence time.Duration
	Logger  *slog.Logger
}

// Bounds of single requests.
const (
	dialTime    = 2 * time.Second
	requestTime = 6 * time.Second  // a slower server counts as unavailable
	pollTime    = 20 * time.Second // one blocking query
	firstWait   = 50 * time.Millisecond
	lastWait    = time.Second
)

// Store is a key prefix in Consul. It implements store.Store.
type Store struct {
	o       Options
	log     *slog.Logger
	clients []*api.Client
	// transports belong to the clients, so that Close closes all connections.
	transports []*http.Transport
	names      []string // addresses, for messages
	away       complaints
	at         atomic.Uint32 // the client that last answered
	objects    string        // key prefix of objects
	inner      string        // key prefix of the store's own data
	ctx        context.Context
	end        context.CancelCauseFunc
	work       sync.WaitGroup // goroutines of leaderships
}

var _ store.Store = (*Store)(nil)

// Open returns a Store. It does not wait for Consul: operations do.
func Open(o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = "sluice"
	}
	o.Prefix = strings.Trim(o.Prefix, "/")
	if escape(o.Prefix) != o.Prefix || len(o.Prefix) > maxPrefix {
		return nil, fmt.Errorf("prefix %q of the store: it must be a path of at most %d bytes", o.Prefix, maxPrefix)
	}
	if o.Patience <= 0 {
		o.Patience = 15 * time.Second
	}
	if o.Silence <= 0 {
		o.Silence = 4 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{o: o, log: o.Logger, objects: o.Prefix + "/o/", inner: o.Prefix + "/i/"}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	addresses := o.Addresses
	if len(addresses) == 0 {
		addresses = []string{""}
	}
	for _, a := range addresses {
		if err := s.addClient(a); err != nil {
			return nil, fmt.Errorf("consul %s: %w", a, err)
		}
	}
	return s, nil
}

// maxPrefix leaves room in Consul's keys for the object's own.
const maxPrefix = 64

func (s *Store) addClient(address string) error {
	cfg := api.DefaultConfig()
	if address != "" {
		cfg.Address = address
	}
	if s.o.TLS {
		cfg.Scheme = "https"
	}
	if err := s.o.Access.apply(cfg); err != nil {
		return err
	}
	secure, err := api.SetupTLSConfig(&cfg.TLSConfig)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTime, KeepAlive: 10 * time.Second}).DialContext,
		TLSClientConfig:     secure,
		TLSHandshakeTimeout: dialTime,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
	}
	cfg.HttpClient = &http.Client{Transport: transport}
	if cfg.TokenFile != "" {
		cfg.HttpClient.Transport = &tokens{RoundTripper: transport, file: cfg.TokenFile}
	}
	c, err := api.NewClient(cfg)
	if err != nil {
		return err
	}
	s.clients, s.transports, s.names = append(s.clients, c), append(s.transports, transport), append(s.names, cfg.Address)
	return nil
}

// Parse reads "consul://host:port,host:port?prefix=sluice"; consuls:// is HTTPS.
func Parse(text string) (Options, error) {
	var o Options
	rest, ok := strings.CutPrefix(text, "consul://")
	if !ok {
		if rest, o.TLS = strings.CutPrefix(text, "consuls://"); !o.TLS {
			return o, fmt.Errorf("store %q: it begins with consul:// or consuls://", text)
		}
	}
	rest, query, _ := strings.Cut(rest, "?")
	for a := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), ",") {
		if a == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(a); err != nil {
			if strings.Contains(a, ":") && !strings.HasSuffix(a, "]") {
				return o, fmt.Errorf("store %q: %q is not host:port", text, a)
			}
			a += ":8500"
		}
		o.Addresses = append(o.Addresses, a)
	}
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if name != "prefix" {
			return o, fmt.Errorf("store %q: there is no setting %q, only prefix; tokens and certificates have flags of their own", text, name)
		}
		o.Prefix = value
	}
	return o, nil
}

// Get returns one object; store.ErrNotFound if there is none.
func (s *Store) Get(ctx context.Context, key string) (o store.Object, err error) {
	var pair *api.KVPair
	err = s.call(ctx, func(ctx context.Context, c *api.Client) (err error) {
		pair, _, err = c.KV().Get(s.objects+escape(key), (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
		return err
	})
	switch {
	case err != nil:
		return o, fmt.Errorf("read %s: %w", key, err)
	case pair == nil:
		return o, store.ErrNotFound
	}
	return s.object(pair), nil
}

// List returns every object whose key begins with prefix, by key. The revision is that of the last
// change below the prefix, if known, else that of the last change of all.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Object, store.Revision, error) {
	pairs, at, err := s.list(ctx, prefix, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	var out []store.Object
	for _, p := range pairs {
		out = append(out, s.object(p))
	}
	slices.SortFunc(out, func(a, b store.Object) int { return strings.Compare(a.Key, b.Key) })
	return out, store.Revision(at), nil
}

// list reads pairs; with wait it returns after a change below the prefix since that index, or after a
// while.
func (s *Store) list(ctx context.Context, prefix string, wait uint64) (pairs api.KVPairs, at uint64, err error) {
	q := &api.QueryOptions{RequireConsistent: wait == 0, WaitIndex: wait, WaitTime: pollTime}
	fn := func(ctx context.Context, c *api.Client) error {
		var meta *api.QueryMeta
		var err error
		pairs, meta, err = c.KV().List(s.objects+escapePrefix(prefix), q.WithContext(ctx))
		if err == nil {
			at = meta.LastIndex
		}
		return err
	}
	if wait == 0 {
		err = s.call(ctx, fn)
	} else {
		err = s.doRequest(ctx, pollTime+pollTime/16+requestTime, fn)
	}
	pairs = slices.DeleteFunc(pairs, func(p *api.KVPair) bool { return !strings.HasPrefix(s.key(p.Key), prefix) })
	return pairs, at, err
}

// key returns the object's key of a Consul key.
func (s *Store) key(full string) string { return unescape(strings.TrimPrefix(full, s.objects)) }

func (s *Store) object(p *api.KVPair) store.Object {
	o := store.Object{Key: s.key(p.Key), Value: p.Value, Revision: store.Revision(p.ModifyIndex)}
	if o.Value == nil {
		o.Value = []byte{}
	}
	return o
}

// Close ends watches and leaderships. It may be called again.
func (s *Store) Close() error {
	s.end(store.ErrClosed)
	s.work.Wait()
	for _, t := range s.transports {
		t.CloseIdleConnections()
	}
	return nil
}
