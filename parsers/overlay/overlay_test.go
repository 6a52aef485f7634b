package overlay_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/overlay"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestVXLAN(t *testing.T) {
	parsertest.Run(t, overlay.NewVXLAN(), app.VXLAN, "testdata/vxlan")
}

func TestGeneve(t *testing.T) {
	parsertest.Run(t, overlay.NewGeneve(), app.Geneve, "testdata/geneve")
}

// TestEveryCut claims no datagram of which the end is missing, unless it is so long that a tap
// may have cut it.
func TestEveryCut(t *testing.T) {
	for dir, p := range map[string]parsers.Parser{"testdata/vxlan": overlay.NewVXLAN(), "testdata/geneve": overlay.NewGeneve()} {
		cases, err := parsertest.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			b := c.Messages[0].Data
			if c.Negative() || len(b) > 300 || c.Name == "arp-padded" {
				continue
			}
			for n := range b {
				if got := p.Probe(&c.Meta, parsers.ToServer, b[:n]); got != parsers.No {
					t.Errorf("%s/%s: first %d of %d octets: got %v want no", dir, c.Name, n, len(b), got)
				}
			}
		}
	}
}

func FuzzVXLAN(f *testing.F) {
	seed(f, "testdata/vxlan")
	parsertest.Fuzz(f, overlay.NewVXLAN(), app.VXLAN)
}

func FuzzGeneve(f *testing.F) {
	seed(f, "testdata/geneve")
	parsertest.Fuzz(f, overlay.NewGeneve(), app.Geneve)
}

// seed adds the first datagram of each case; 1 is the flag of parsertest.Fuzz for UDP.
func seed(f *testing.F, dir string) {
	cases, err := parsertest.Load(dir)
	if err != nil {
		f.Fatal(err)
	}
	for i, c := range cases {
		f.Add(uint64(i), uint8(1), c.Messages[0].Data, []byte(nil))
	}
}

func BenchmarkVXLAN(b *testing.B) {
	parsertest.Bench(b, overlay.NewVXLAN(), app.VXLAN, "testdata/vxlan")
}

func BenchmarkGeneve(b *testing.B) {
	parsertest.Bench(b, overlay.NewGeneve(), app.Geneve, "testdata/geneve")
}
