//go:build linux

package afpacket

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// benchID is the endpoint of BenchmarkTokens.
const benchID = 5

// mix is that of bpf/share.h.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// benchFrame is a datagram that leaves the endpoint of the benchmark, with its tag as its source already:
// the program, which writes that, runs on it many times. The second result is its flow.
func benchFrame() ([]byte, uint64) {
	b := make([]byte, 64)
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0x53, 0x4c, 0, 0, benchID, 8, 0, 0x45, 0, 0, 50})
	b[22], b[23] = 64, unix.IPPROTO_UDP
	copy(b[26:], []byte{10, 0, 0, 1, 10, 0, 0, 2, 0x10, 0, 0x20, 0})
	word := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(b[at:])) }
	port := func(at int) uint64 { return uint64(binary.NativeEndian.Uint16(b[at:])) }
	src, dst := mix(benchID, word(26)), mix(benchID, word(30))
	return b, mix(mix(src, port(34))+mix(dst, port(36)), unix.IPPROTO_UDP)
}

// steering loads the programs with a bound for first packets, and an endpoint at the interface that frames of test runs have.
func steering(b *testing.B, first int) *steerObjects {
	b.Helper()
	spec, err := loadSteer()
	if err != nil {
		b.Fatal(err)
	}
	if err := setVariables(spec.Variables, 1, Config{FirstPackets: first}); err != nil {
		b.Fatal(err)
	}
	if err := spec.Variables[steerVarSeed].Set(uint64(0)); err != nil {
		b.Fatal(err)
	}
	var o steerObjects
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { o.Close() })
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		b.Fatal(err)
	}
	h := steerHook{Id: benchID, Mark: 1, Mac: [6]uint8{2, 0x53, 0x4c, 0, 0, benchID}}
	p := steerPulse{Beat: uint64(now.Nano()), Limit: uint64(time.Hour), Room: 1 << 40, Endpoints: 2}
	for _, err := range []error{o.Hooks.Put(uint32(1), &h), o.Control.Put(uint32(0), &p)} {
		if err != nil {
			b.Fatal(err)
		}
	}
	return &o
}

// BenchmarkTokens measures what the steering program costs for a frame: without a bound for first packets, with one
// for a frame of a flow that was passed, for one that takes a token, and for one of a flood that finds none. Its action is checked.
func BenchmarkTokens(b *testing.B) {
	testnet.RequireRoot(b)
	const redirect, shot, all = 7, 2, int(time.Second)
	for _, test := range []struct {
		name  string
		first int
		known bool
		want  uint32
	}{
		{"no bound", -1, false, redirect}, {"known flow", 1, true, redirect}, {"first packet", all, false, redirect}, {"flood", 1, false, shot},
	} {
		b.Run(test.name, func(b *testing.B) {
			o := steering(b, test.first)
			frame, flow := benchFrame()
			if test.known {
				if err := o.Flows.Update(uint32(flow>>32&(1<<18-1)), &steerFlow{Tag: uint32(flow), State: 3}, ebpf.UpdateAny); err != nil {
					b.Fatal(err)
				}
			}
			var sum time.Duration
			n := 0
			for b.Loop() {
				got, each, err := o.SteerIn.Benchmark(frame, 100_000, b.ResetTimer)
				if err != nil || got != test.want {
					b.Fatalf("got action %d, %v, want %d", got, err, test.want)
				}
				sum, n = sum+each, n+1
			}
			b.ReportMetric(float64(sum)/float64(n), "ns/frame")
		})
	}
}
