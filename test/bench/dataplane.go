//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/plugins/host"
	"github.com/sluicenet/sluice/plugins/sdk"
)

// dataplane is the child that is measured: the engine and the backend as the daemon
// composes them, and a collector that takes the records.
type dataplane struct {
	backend backend.Backend
	rings   *afpacket.Backend // the same, where it is packet rings; else nil
	engine  *engine.Engine    // nil without one
	plugins *host.Host        // nil where parsers are in process
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
	RSS      int64             `json:"rss"` // bytes
	Records  uint64            `json:"records"`
	Counters map[string]uint64 `json:"counters"`
}

func openDataplane(p params) (handler, error) {
	c, err := contenderOf(p.Contender)
	if err != nil {
		return nil, err
	}
	d := &dataplane{stop: make(chan struct{})}
	if c.datapath == byQueue {
		d.backend = nfqueue.New(nfqueue.Config{Marks: c.marks})
	} else {
		d.rings = afpacket.New(afpacket.Config{})
		d.backend = d.rings
	}
	top := topology{host: p.HostNS, server: p.ServerNS, others: p.Others}
	var eps []backend.Endpoint
	for i, w := range top.workloads() {
		eps = append(eps, c.endpoint(uint32(i+1), w, netns.Named(top.host)))
	}
	if c.engine {
		err = d.inspect(eps, c.plugin)
	} else {
		err = d.reflect(eps[0])
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

// inspect puts the engine on the endpoints, with every parser and the policy.
func (d *dataplane) inspect(eps []backend.Endpoint, plugin bool) error {
	cfg, err := d.parsers(plugin)
	if err != nil {
		return err
	}
	table, err := makePolicy(len(eps) - 1)
	if err != nil {
		return fmt.Errorf("compile policy: %w", err)
	}
	d.engine = engine.New(cfg)
	d.engine.Apply(table)
	d.wg.Add(1)
	go d.collect()
	for i, ep := range eps {
		if err := d.engine.Attach(context.Background(), d.backend, ep, workloadID(i)); err != nil {
			return err
		}
	}
	return nil
}

// parsers places the parsers as the daemon does.
func (d *dataplane) parsers(plugin bool) (engine.Config, error) {
	if !plugin {
		registry, err := builtin.Registry()
		return engine.Config{Parsers: registry}, err
	}
	registry, err := builtin.Local()
	if err != nil {
		return engine.Config{}, err
	}
	self := host.Plugin{Name: "standard", Path: "/proc/self/exe", Args: []string{rolePrefix + pluginRole, "{}"}}
	if d.plugins, err = host.Start(context.Background(), host.Config{Plugins: []host.Plugin{self}}); err != nil {
		return engine.Config{}, fmt.Errorf("start plugin: %w", err)
	}
	return engine.Config{Parsers: registry, Remote: d.plugins}, nil
}

// pluginRole is the child that parses.
const pluginRole = "plugin"

// pluginMain is main of that child.
func pluginMain() int {
	registry, err := builtin.Registry()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	sdk.ServeRegistry("standard", registry)
	return 0
}

// collect takes the records as the agent does.
func (d *dataplane) collect() {
	defer d.wg.Done()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		d.engine.Threats(func(*report.Threat) {})
		n := d.engine.Drain(func(*flow.Record) {})
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

// handle reports the usage.
func (d *dataplane) handle(request) (any, error) {
	u := usage{Counters: map[string]uint64{}}
	var err error
	if u.CPU, u.RSS, err = d.processes(); err != nil {
		return nil, err
	}
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

// processes adds up what this process and its plugins have used: processor seconds, and
// the memory that they have now.
func (d *dataplane) processes() (cpu float64, rss int64, err error) {
	pids := []int{os.Getpid()}
	if d.plugins != nil {
		for _, s := range d.plugins.Status() {
			pids = append(pids, s.PID)
		}
	}
	for _, pid := range pids {
		ran, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, 0, fmt.Errorf("read usage: %w", err)
		}
		// After the name in brackets: utime and stime are the 12th and 13th, the pages the 22nd.
		f := strings.Fields(string(ran[bytes.LastIndexByte(ran, ')')+1:]))
		if len(f) < 22 {
			return 0, 0, fmt.Errorf("read usage: %q", ran)
		}
		for _, ticks := range f[11:13] {
			n, _ := strconv.ParseUint(ticks, 10, 64)
			cpu += float64(n) / userTicks
		}
		pages, _ := strconv.ParseInt(f[21], 10, 64)
		rss += pages * int64(os.Getpagesize())
	}
	if len(pids) == 1 {
		var r unix.Rusage // finer than ticks
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
			return 0, 0, fmt.Errorf("read usage: %w", err)
		}
		cpu = float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
	}
	return cpu, rss, nil
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
	if d.plugins != nil {
		d.plugins.Close()
	}
	return errors.Join(errs...)
}
