//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// dataplane is the child that is measured: the engine and the backend as the daemon
// composes them, and a collector that takes the records.
type dataplane struct {
	backend backend.Backend
	rings   *afpacket.Backend // the same, where it is packet rings; else nil
	engine  *engine.Engine    // nil without one
	queue   backend.Queue     // of reflect
	profile *os.File
	stop    chan struct{}
	wg      sync.WaitGroup
	records uint64
	mu      sync.Mutex // guards records
}

// usage is what the dataplane has used and counted since it began.
type usage struct {
	CPU      float64           `json:"cpu"` // seconds
	RSS      int64             `json:"rss"` // largest so far, bytes
	Records  uint64            `json:"records"`
	Counters map[string]uint64 `json:"counters"`
}

func openDataplane(p params) (handler, error) {
	d := &dataplane{stop: make(chan struct{})}
	ep := backend.Endpoint{ID: 1, Kind: backend.Inline, NetNS: netns.Named(p.ServerNS), Interface: "eth0", MAC: serverMAC}
	ep.Hook = backend.Hook{NetNS: netns.Named(p.HostNS), Interface: hostToServer}
	switch p.Contender {
	case "tap":
		ep.Kind = backend.Tap
	case "queue", "queue-reflect", "queue-marked":
		ep.Hook = backend.Hook{NetNS: ep.NetNS, Interface: ep.Interface, Side: backend.StackSide}
	}
	var err error
	switch p.Contender {
	case "queue-marked":
		d.backend = nfqueue.New(nfqueue.Config{Marks: true})
	case "queue", "queue-reflect":
		d.backend = nfqueue.New(nfqueue.Config{})
	default:
		d.rings = afpacket.New(afpacket.Config{})
		d.backend = d.rings
	}
	switch p.Contender {
	case "reflect", "queue-reflect":
		err = d.reflect(ep)
	default:
		err = d.inspect(ep)
	}
	if err == nil && p.CPUProfile != "" {
		if d.profile, err = os.Create(p.CPUProfile); err == nil {
			err = pprof.StartCPUProfile(d.profile)
		}
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// inspect puts the engine on the endpoint, with every parser and the policy.
func (d *dataplane) inspect(ep backend.Endpoint) error {
	registry, err := builtin.Registry()
	if err != nil {
		return err
	}
	table, err := makePolicy()
	if err != nil {
		return fmt.Errorf("compile policy: %w", err)
	}
	d.engine = engine.New(engine.Config{Parsers: registry})
	d.engine.Apply(table)
	d.wg.Add(1)
	go d.collect()
	return d.engine.Attach(context.Background(), d.backend, ep, workloadID)
}

// collect takes the records as the agent does.
func (d *dataplane) collect() {
	defer d.wg.Done()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		d.engine.Threats(func(*report.Threat) {})
		n := d.engine.Drain(func(*report.Flow) {})
		d.mu.Lock()
		d.records += uint64(n)
		d.mu.Unlock()
		select {
		case <-d.stop:
			return
		case <-tick.C:
		}
	}
}

// reflect passes every frame without looking at it: what the way through the backend
// costs alone.
func (d *dataplane) reflect(ep backend.Endpoint) error {
	att, err := d.backend.Attach(context.Background(), ep)
	if err != nil {
		return err
	}
	d.queue = att.Queues()[0]
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		b := packet.NewBatch(256)
		for d.queue.Recv(b) == nil {
			frames := b.All()
			for i := range frames {
				frames[i].Verdict = packet.Verdict{Action: packet.Pass}
			}
			if d.queue.Settle(b) != nil {
				return
			}
		}
	}()
	return att.Activate()
}

// handle tells the usage.
func (d *dataplane) handle(request) (any, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	u := usage{CPU: float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9, RSS: r.Maxrss << 10, Counters: map[string]uint64{}}
	if d.rings != nil {
		steering, err := d.rings.Counters()
		if err != nil {
			return nil, err
		}
		for name, n := range steering {
			u.Counters["steering."+name] = n
		}
	}
	if d.engine == nil {
		s := d.queue.(backend.Counter).Stats()
		u.Counters["ring.dropped"], u.Counters["ring.send_dropped"], u.Counters["ring.oversize"] = s.Dropped, s.SendDrop, s.Oversize
		return u, nil
	}
	// Workers publish what they count ten times a second.
	time.Sleep(120 * time.Millisecond)
	for name, n := range d.engine.Stats().Counters {
		u.Counters[name] = n
	}
	d.mu.Lock()
	u.Records = d.records
	d.mu.Unlock()
	return u, nil
}

// Close detaches and ends everything.
func (d *dataplane) Close() error {
	if d.profile != nil {
		pprof.StopCPUProfile()
		d.profile.Close()
	}
	var errs []error
	if d.engine != nil {
		errs = append(errs, d.engine.Close())
	}
	close(d.stop)
	errs = append(errs, d.backend.Close())
	d.wg.Wait()
	return errors.Join(errs...)
}
