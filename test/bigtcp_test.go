package test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// bigSize is a limit of frames as users of BIG TCP set it.
const bigSize = 185_000

// TestBigTCP sends and receives with frames of up to 185,000 bytes between workloads in protect mode:
// everything arrives as it was sent, and no frame is lost for its size.
func TestBigTCP(t *testing.T) {
	l := newLab(t)
	var unknown error
	for _, w := range []*testnet.Workload{l.web, l.api} {
		w.Do(func() error {
			link, err := netlink.LinkByName(w.Interface)
			if err != nil {
				return err
			}
			unknown = errors.Join(unknown, netlink.LinkSetGSOMaxSize(link, bigSize), netlink.LinkSetGSOIPv4MaxSize(link, bigSize), netlink.LinkSetGROMaxSize(link, bigSize), netlink.LinkSetGROIPv4MaxSize(link, bigSize))
			return nil
		})
	}
	if unknown != nil {
		t.Skipf("this kernel has no BIG TCP: %v", unknown)
	}
	l.start()
	l.run("rules", "add", "--from", "web", "--to", "api", "--ports", "tcp/9090")
	l.run("mode", "set", "web", "api", "protect")
	data := make([]byte, 32<<20)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	for _, network := range families {
		c := l.web.Dial(network, l.api.Addr(network, 9090)) // which echoes
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			_, err := io.Copy(c, bytes.NewReader(data))
			sent <- err
		}()
		sum := sha256.New()
		if n, err := io.CopyN(sum, c, int64(len(data))); err != nil {
			t.Fatalf("%s: %d of %d bytes, %v", network, n, len(data), err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
			t.Errorf("%s: other bytes arrived than were sent", network)
		}
		c.Close()
	}
	if vs := read[[]refusal](l.program, "violations"); len(vs) > 0 {
		t.Errorf("violations, or frames that were lost: %s", fmt.Sprint(vs))
	}
}
