//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// load is the child in the client's namespace that makes the traffic.
type load struct {
	ipv6    bool
	pattern []byte
}

// result is what one measurement found. Which fields are set depends on the test.
type result struct {
	Seconds float64 `json:"seconds"`
	Bytes   uint64  `json:"bytes"`
	Bad     uint64  `json:"bad"` // bytes, bodies or answers that are not as they were sent
	Count   uint64  `json:"count"`
	Errors  uint64  `json:"errors"`
	P50     float64 `json:"p50"` // microseconds
	P99     float64 `json:"p99"`
}

func openLoad(p params) (handler, error) { return &load{ipv6: p.IPv6, pattern: pattern()}, nil }

// Close has nothing to close.
func (l *load) Close() error { return nil }

func (l *load) handle(r request) (any, error) {
	d := time.Duration(r.Seconds * float64(time.Second))
	switch r.Do {
	case "tcp":
		return l.streams(r.Streams, d)
	case "conn":
		return l.connections(d)
	case "ping":
		return l.ping(d)
	case "udp":
		return l.udp(r.Rate, d)
	}
	return nil, fmt.Errorf("no test %q", r.Do)
}

// streams sends as fast as it can over n connections at once.
func (l *load) streams(n int, d time.Duration) (result, error) {
	type end struct {
		sent, bad uint64
		err       error
	}
	conns := make([]blocking, n)
	for i := range conns {
		var err error
		if conns[i], err = dial(l.ipv6, i, portStream); err != nil {
			return result{}, err
		}
		defer conns[i].close()
	}
	ends := make(chan end, n)
	begin := time.Now()
	for _, c := range conns {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var e end
			e.sent, e.bad, e.err = l.stream(c, begin.Add(d))
			ends <- e
		}()
	}
	var r result
	for range conns {
		e := <-ends
		if e.err != nil {
			return r, fmt.Errorf("stream: %w", e.err)
		}
		r.Bytes += e.sent
		r.Bad += e.bad
	}
	r.Seconds = time.Since(begin).Seconds()
	return r, nil
}

// stream sends until the time is over and asks the receiver what it got.
func (l *load) stream(c blocking, until time.Time) (sent, bad uint64, err error) {
	for at := 0; time.Now().Before(until); {
		n, err := c.write(l.pattern[at : at+chunk])
		if err != nil {
			return sent, bad, err
		}
		sent += uint64(n)
		at = (at + n) % period
	}
	if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
		return sent, bad, fmt.Errorf("end: %w", err)
	}
	var answer [trailerSize]byte
	if err := c.readFull(answer[:]); err != nil {
		return sent, bad, fmt.Errorf("read the receiver's answer: %w", err)
	}
	got := binary.BigEndian.Uint64(answer[:])
	bad = binary.BigEndian.Uint64(answer[8:])
	if got != sent {
		return sent, bad, fmt.Errorf("%d bytes were sent and %d received", sent, got)
	}
	return sent, bad, nil
}

// ping sends a request and waits for its answer, over and over on one connection.
func (l *load) ping(d time.Duration) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := dial(l.ipv6, 0, portEcho)
	if err != nil {
		return result{}, err
	}
	defer c.close()
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return result{}, fmt.Errorf("set up socket: %w", err)
	}
	took := make([]time.Duration, 0, 1<<17)
	var r result
	var out, in [echoSize]byte
	copy(out[:], l.pattern)
	begin := time.Now()
	for at := begin; at.Sub(begin) < d; {
		binary.BigEndian.PutUint64(out[:], uint64(len(took)))
		if err := c.writeFull(out[:]); err != nil {
			return r, err
		}
		if err := c.readFull(in[:]); err != nil {
			return r, err
		}
		now := time.Now()
		took = append(took, now.Sub(at))
		at = now
		if in != out {
			r.Bad++
		}
	}
	slices.Sort(took)
	r.Seconds, r.Count = time.Since(begin).Seconds(), uint64(len(took))
	r.P50 = float64(took[len(took)/2].Nanoseconds()) / 1e3
	r.P99 = float64(took[len(took)*99/100].Nanoseconds()) / 1e3
	return r, nil
}

// udp sends datagrams of many flows at a steady rate.
func (l *load) udp(rate int, d time.Duration) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var r result
	fds, err := l.udpSockets()
	for _, fd := range fds {
		defer unix.Close(fd)
	}
	if err != nil {
		return r, err
	}
	var out [datagram]byte
	copy(out[:], l.pattern)
	const burst = 100 * time.Microsecond
	begin := time.Now()
	for at := begin; ; {
		elapsed := at.Sub(begin)
		if elapsed >= d {
			break
		}
		for due := uint64(elapsed.Seconds() * float64(rate)); r.Count < due; r.Count++ {
			binary.BigEndian.PutUint64(out[:], r.Count)
			if _, err := unix.Write(fds[r.Count%udpFlows], out[:]); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				r.Errors++
			}
		}
		if wait := burst - time.Since(at); wait > 0 {
			ts := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&ts, nil)
		}
		at = time.Now()
	}
	r.Seconds = time.Since(begin).Seconds()
	time.Sleep(100 * time.Millisecond) // what is under way arrives
	return r, nil
}

func (l *load) udpSockets() (fds []int, err error) {
	family := unix.AF_INET
	if l.ipv6 {
		family = unix.AF_INET6
	}
	for i := range udpFlows {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fds, fmt.Errorf("open socket: %w", err)
		}
		fds = append(fds, fd)
		if err := unix.Bind(fd, sockaddr(sourceAddr(l.ipv6, i), 0)); err != nil {
			return fds, fmt.Errorf("bind: %w", err)
		}
		if err := unix.Connect(fd, sockaddr(serverAddr(l.ipv6), portUDP)); err != nil {
			return fds, fmt.Errorf("connect: %w", err)
		}
	}
	return fds, nil
}
