package translate

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/atomicfile"
)

const (
	// freshFor is how long a target counts as one after a connection went there while others of its service go
	// elsewhere. The only one never expires.
	freshFor = 2 * time.Minute
	// maxServices bounds the services; the one unused for longest makes room.
	maxServices = 4096
	// storeEvery is the least time between two versions on disk.
	storeEvery = 2 * time.Second
)

// book is the services that are known.
type book map[destination][]sighting

// sighting is a target and when a connection last went there; the latest first.
type sighting struct {
	to destination
	at time.Time
}

// add records a connection to a service and reports whether its targets have changed.
func (b book) add(of, to destination, now time.Time) (news bool) {
	list, ok := b[of]
	if !ok && len(b) >= maxServices {
		b.evict()
	}
	i := slices.IndexFunc(list, func(s sighting) bool { return s.to == to })
	if i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	list = slices.Insert(list, 0, sighting{to, now})
	n := len(list)
	list = slices.DeleteFunc(list, func(s sighting) bool { return now.Sub(s.at) > freshFor })
	news = i < 0 || len(list) < n
	b[of] = list[:min(len(list), policy.MaxTargets)]
	return news
}

func (b book) evict() {
	var oldest destination
	var at time.Time
	for d, list := range b {
		if at.IsZero() || list[0].at.Before(at) {
			oldest, at = d, list[0].at
		}
	}
	delete(b, oldest)
}

// latest returns where the latest connection to a destination went.
func (b book) latest(d destination) answer {
	if list := b[d]; len(list) > 0 {
		return answer{list[0].to.addr, list[0].to.port, true}
	}
	return answer{}
}

// list returns the services in order.
func (b book) list() (out []policy.ServiceSpec) {
	for d, targets := range b {
		s := policy.ServiceSpec{Proto: d.proto, At: netipOf(d.addr, d.port)}
		for _, t := range targets {
			s.Targets = append(s.Targets, netipOf(t.to.addr, t.to.port))
		}
		out = append(out, s)
	}
	slices.SortFunc(out, policy.ServiceSpec.Compare)
	return out
}

// load reads the services of the previous run. A file that cannot be read is one of no services.
func (r *Resolver) load() {
	if r.cfg.File == "" {
		return
	}
	text, err := os.ReadFile(r.cfg.File)
	var list []policy.ServiceSpec
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("translated addresses of the previous run not read", "file", r.cfg.File, "error", err)
	}
	now := time.Now()
	for _, s := range list {
		if !s.At.IsValid() || len(r.known) >= maxServices {
			continue
		}
		of := destinationOf(s.At, s.Proto)
		for _, t := range slices.Backward(s.Targets) {
			if t.IsValid() {
				r.known.add(of, destinationOf(t, s.Proto), now)
			}
		}
	}
}

func destinationOf(a netip.AddrPort, proto uint8) destination {
	return destination{packet.AddrFrom(a.Addr().Unmap()), a.Port(), proto}
}

// Run stores the services for the next run when they have changed, until ctx ends.
func (r *Resolver) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-r.dirty:
			r.store()
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(storeEvery):
		case <-ctx.Done():
		}
	}
	r.store()
}

func (r *Resolver) store() {
	if r.cfg.File == "" {
		return
	}
	text, err := json.MarshalIndent(r.Services(), "", " ")
	if err == nil {
		err = atomicfile.Write(r.cfg.File, text, 0o600)
	}
	if err != nil {
		r.log.Warn("translated addresses not stored for the next run", "file", r.cfg.File, "error", err)
	}
}
