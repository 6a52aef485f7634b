//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// run measures every contender in every round, the rounds outermost, so that what changes
// on the machine meanwhile changes all of them alike.
func run(ctx context.Context, o *options) error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces, packet sockets and BPF need root: run it as root or with sudo")
	}
	unlock, err := lockFile(o.lock)
	if err != nil {
		return err
	}
	defer unlock()
	if err := removeStale(); err != nil {
		return err
	}
	t := &table{machine: describeMachine(o)}
	begin := time.Now()
	for round := range o.rounds {
		for _, c := range o.tasks {
			fmt.Fprintf(os.Stderr, "%4.0f s, round %d of %d: %s: ", time.Since(begin).Seconds(), round+1, o.rounds, c.name)
			if err := measure(ctx, o, &c, round, t); err != nil {
				fmt.Fprintln(os.Stderr)
				if ctx.Err() != nil {
					return errors.New("interrupted; everything has been removed")
				}
				return fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintln(os.Stderr)
		}
	}
	t.machine.Seconds = time.Since(begin).Seconds()
	t.finish()
	t.show(os.Stdout, o.markdown)
	if o.out == "" {
		return nil
	}
	return t.write(o.out)
}

// lockFile holds a lock; an empty path is none.
func lockFile(path string) (unlock func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	fmt.Fprintf(os.Stderr, "waiting for %s\n", path)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// bench is one contender set up.
type bench struct {
	o         *options
	name      string
	dataplane *child // nil for plain
	server    *child
	load      *child
	t         *table
}

// measure sets a contender up, runs the tests and takes everything down again.
func measure(ctx context.Context, o *options, c *task, round int, t *table) (err error) {
	name := c.name
	t.machine.Load = append(t.machine.Load, quietMoment())
	top, err := build(c.others)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, top.remove()) }()
	p := params{IPv6: o.ipv6, Nice: o.nice, Contender: name, HostNS: top.host, ServerNS: top.server, Others: top.others}
	if o.cpuProfile != "" {
		p.CPUProfile = fmt.Sprintf("%s.%s.%d", o.cpuProfile, name, round+1)
	}
	b := &bench{o: o, name: name, t: t}
	for _, child := range []struct {
		role, ns string
		into     **child
	}{{"serve", netns.Named(top.server), &b.server}, {"load", netns.Named(top.client), &b.load}, {"dataplane", "", &b.dataplane}} {
		if child.role == "dataplane" && c.datapath == noDatapath {
			continue
		}
		started, err := startChild(ctx, child.role, child.ns, p)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, started.stop()) }()
		*child.into = started
	}
	for _, test := range c.tests {
		fmt.Fprintf(os.Stderr, "%s ", test)
		if err := b.test(test); err != nil {
			return fmt.Errorf("%s: %w", test, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// usage asks the dataplane; there is none in plain.
func (b *bench) usage() (u usage, err error) {
	if b.dataplane != nil {
		err = b.dataplane.call(request{Do: "usage"}, &u)
	}
	return u, err
}

// test runs one test and notes what it found.
func (b *bench) test(name string) error {
	if name == "idle" {
		return b.idle()
	}
	req := map[string]request{
		"tcp1": {Do: "tcp", Streams: 1}, "tcp4": {Do: "tcp", Streams: 4}, "conn": {Do: "conn"}, "ping": {Do: "ping"},
		"udp": {Do: "udp", Rate: b.o.rate},
	}[name]
	req.Seconds = b.o.seconds
	before, err := b.usage()
	if err != nil {
		return err
	}
	var r result
	if err := b.load.call(req, &r); err != nil {
		return err
	}
	after, err := b.usage()
	if err != nil {
		return err
	}
	cpu := after.CPU - before.CPU
	switch name {
	case "tcp1", "tcp4":
		b.addResult(name, "Gbit/s", float64(r.Bytes)*8/1e9/r.Seconds)
		b.noteCPU(name+" cpu", "s/GB", cpu/(float64(r.Bytes)/1e9))
	case "conn":
		b.addResult(name, "1/s", float64(r.Count)/r.Seconds)
		b.noteCPU(name+" cpu", "us each", cpu*1e6/float64(r.Count))
		b.fault(name+" failed", float64(r.Errors))
	case "ping":
		b.addResult(name+" p50", "us", r.P50)
		b.addResult(name+" p99", "us", r.P99)
		b.noteCPU(name+" cpu", "us each", cpu*1e6/float64(r.Count))
	case "udp":
		if err := b.udp(&r, cpu); err != nil {
			return err
		}
	}
	b.fault(name+" corrupted", float64(r.Bad))
	b.lost(name, before, after)
	return nil
}

// idle notes what the dataplane costs while nothing happens: what it takes to start is over.
func (b *bench) idle() error {
	time.Sleep(500 * time.Millisecond)
	before, err := b.usage()
	if err != nil {
		return err
	}
	begin := time.Now()
	time.Sleep(time.Duration(b.o.seconds * float64(time.Second)))
	after, err := b.usage()
	if err != nil {
		return err
	}
	b.addResult("idle cpu", "% of a core", 100*(after.CPU-before.CPU)/time.Since(begin).Seconds())
	b.addResult("idle memory", "MiB", float64(after.RSS)/(1<<20))
	return nil
}

// udp notes what arrived.
func (b *bench) udp(r *result, cpu float64) error {
	var got udpResult
	if err := b.server.call(request{Do: "udp"}, &got); err != nil {
		return err
	}
	r.Bad += got.Bad
	b.addResult("udp sent", "1000/s", float64(r.Count)/r.Seconds/1e3)
	b.addResult("udp loss", "%", 100*(1-float64(got.Received)/float64(r.Count)))
	b.noteCPU("udp cpu", "us each", cpu*1e6/float64(r.Count))
	return nil
}

// lost notes what the dataplane counts of frames that it did not see or not pass on.
func (b *bench) lost(test string, before, after usage) {
	if b.dataplane == nil {
		return
	}
	diff := func(names ...string) (n float64) {
		for _, c := range names {
			n += float64(after.Counters[c] - before.Counters[c])
		}
		return n
	}
	b.t.add(b.name, test+" lost", "frames", diff("ring.dropped", "ring.send_dropped", "ring.oversize"))
	b.fault(test+" ring full", diff("ring.dropped"))
	b.fault(test+" not sent", diff("ring.send_dropped"))
	b.fault(test+" uninspected", diff("steering.bypassed"))
	// What is held for a plugin's answer counts as dropped where it lay, and is sent on later; what comes again
	// meanwhile is not.
	refused := max(0, diff("engine.dropped")-diff("engine.held", "engine.held_again"))
	b.fault(test+" refused", refused+diff("steering.stopped", "steering.spoofed", "steering.foreign", "steering.forged", "steering.unknown"))
	b.fault(test+" records lost", diff("engine.reports_lost"))
}

// addResult notes a measurement.
func (b *bench) addResult(metric, unit string, v float64) { b.t.add(b.name, metric, unit, v) }

// noteCPU notes what the dataplane used, where there is one.
func (b *bench) noteCPU(metric, unit string, v float64) {
	if b.dataplane != nil {
		b.addResult(metric, unit, v)
	}
}

// fault notes what should be zero, if it ever is not.
func (b *bench) fault(metric string, n float64) {
	if n != 0 {
		b.t.fault(b.name, metric, n)
	}
}
