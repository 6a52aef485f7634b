//go:build linux

package nfqueue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/internal/stage/testnet"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// BenchmarkQueues sends a stream from each of four peers through an engine behind one queue or several.
func BenchmarkQueues(b *testing.B) {
	testnet.RequireRoot(b)
	for _, queues := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(queues), func(b *testing.B) {
			reg, err := builtin.Registry()
			if err != nil {
				b.Fatal(err)
			}
			ws := testnet.New(b).Bridge("a", "b", "c", "d", "e").Workloads
			e, be := engine.New(engine.Config{Parsers: reg}), nfqueue.New(nfqueue.Config{Queues: queues})
			defer func() {
				if err := errors.Join(e.Close(), be.Close()); err != nil {
					b.Error(err)
				}
			}()
			if err := e.Attach(context.Background(), be, harness(nfqueue.Config{}, "").Endpoint(1, ws[0], backend.FailOpen), "a"); err != nil {
				b.Fatal(err)
			}
			l := ws[0].Listen("tcp4", ws[0].Addr("tcp4", 0))
			const piece = 64 << 10
			share := b.N/4 + 1
			done := make(chan error, 4)
			b.SetBytes(piece)
			b.ResetTimer()
			for _, p := range ws[1:] {
				c := p.Dial("tcp4", l.Addr().String())
				s, err := l.Accept()
				if err != nil {
					b.Fatal(err)
				}
				go func() {
					_, err := io.CopyN(io.Discard, s, int64(share)*piece)
					done <- err
				}()
				go func() {
					buf := make([]byte, piece)
					for range share {
						if _, err := c.Write(buf); err != nil {
							done <- err
							return
						}
					}
				}()
			}
			for range 4 {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
