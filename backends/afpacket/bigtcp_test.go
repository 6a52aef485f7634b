//go:build linux

package afpacket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
)

// bigFrame is a frame of BIG TCP with n bytes of payload, behind room for its metadata, as the kernel
// hands it over.
func bigFrame(t testing.TB, v6, option bool, tags, n, mss int) ([]byte, packet.VNet) {
	t.Helper()
	g := giant(t, false, v6, tags, 1000, mss)
	const tunnel = etherLen + ipLen + udpLen + 8
	head := g.Data[tunnel : len(g.Data)-1000]
	ip := etherLen + tags*etherTagLen
	tcp := int(binary.LittleEndian.Uint16(g.VNet[6:])) - tunnel
	vnet := g.VNet
	b := append(make([]byte, vnetLen), head[:ip]...)
	switch {
	case !v6:
		b = append(b, head[ip:]...)
		binary.BigEndian.PutUint16(b[vnetLen+ip+2:], 0)
	default:
		b = append(b, head[ip:ip+ip6Len]...)
		binary.BigEndian.PutUint16(b[vnetLen+ip+4:], 0)
		if option {
			b[vnetLen+ip+6] = 0
			b = append(b, protoTCP, 0, 0xc2, 4, 0, 0, 0, 0)
			binary.BigEndian.PutUint32(b[len(b)-4:], uint32(n+len(head)-tcp+8))
			tcp += 8
		}
		b = append(b, head[ip+ip6Len:]...)
	}
	for i := range n {
		b = append(b, byte(i^i>>8))
	}
	binary.LittleEndian.PutUint16(vnet[6:], uint16(tcp))
	return b, vnet
}

// TestParts cuts frames of BIG TCP: the parts are right packets one after another, with all of the
// payload, and only the last one ends what the frame ends.
func TestParts(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, option := range []bool{false, true} {
			for tags := range 3 {
				for _, n := range []int{65500, 65536, 130_000, 180_001, 196_000} {
					if option && !v6 {
						continue
					}
					t.Run(fmt.Sprintf("ipv6 %t, option %t, %d tags, %d", v6, option, tags, n), func(t *testing.T) { cutAll(t, v6, option, tags, n) })
				}
			}
		}
	}
}

func cutAll(t *testing.T, v6, option bool, tags, n int) {
	const mss = 1448
	b, vnet := bigFrame(t, v6, option, tags, n, mss)
	f := packet.Frame{Data: b[vnetLen:], Wire: uint32(len(b) - vnetLen), Flags: packet.GSO | packet.PartialChecksum, Link: packet.Ethernet, VNet: vnet}
	var whole packet.Packet
	if whole.Decode(&f); whole.Status != packet.OK || whole.PayloadWire != n {
		t.Fatalf("decoded whole: %v %v, payload %d, want %d", whole.Status, whole.Reason, whole.PayloadWire, n)
	}
	payload, seq, flags := bytes.Clone(whole.Payload), whole.Seq, whole.Flags
	p, ok := partsOf(b, vnet)
	if !ok {
		t.Fatal("no parts")
	}
	got := 0
	for {
		room, meta := p.next()
		if room == nil {
			break
		}
		var x packet.Packet
		g := packet.Frame{Data: room[vnetLen:], Wire: uint32(len(room) - vnetLen), Link: packet.Ethernet}
		tcp := int(binary.LittleEndian.Uint16(meta[6:]))
		binary.BigEndian.PutUint16(g.Data[tcp+16:], packet.Checksum(g.Data[tcp:], 0)) // as the kernel completes it
		if x.Decode(&g); x.Status != packet.OK || !packet.VerifyIPv4(&x) || !packet.VerifyTransport(&x) || x.IPv6 != v6 || len(x.Network) > mostIP {
			t.Fatalf("part at %d: %v %v", got, x.Status, x.Reason)
		}
		if x.Seq != seq+uint32(got) || !bytes.Equal(x.Payload, payload[got:got+len(x.Payload)]) {
			t.Fatalf("part at %d: number %d, want %d, or another payload", got, x.Seq-seq, got)
		}
		want := flags
		if got > 0 {
			want &^= onlyFirst
		}
		if got += len(x.Payload); got < n {
			want &^= onlyLast
		}
		if x.Flags != want {
			t.Errorf("part to %d: flags %x, want %x", got, x.Flags, want)
		}
		if single := len(x.Payload) <= mss; single != (meta[1] == unix.VIRTIO_NET_HDR_GSO_NONE) {
			t.Errorf("part to %d: metadata %v", got, meta)
		}
	}
	if got != n {
		t.Errorf("%d bytes in parts, want %d", got, n)
	}
}

// FuzzParts gives frames whose headers a workload has chosen to what cuts them.
func FuzzParts(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		b, vnet := bigFrame(f, v6, v6, 1, 70_000, 1000)
		f.Add(b[vnetLen:vnetLen+400], vnet[:], uint32(70_000))
	}
	f.Fuzz(func(t *testing.T, head, vnet []byte, n uint32) {
		if len(head) < etherLen {
			return
		}
		b := append(make([]byte, vnetLen), head...)
		b = append(b, make([]byte, n%uint32(maxJumbo))...)
		p, ok := partsOf(b, packet.VNet(append(vnet, make([]byte, vnetLen)...)))
		if !ok {
			return
		}
		sum := 0
		for {
			part, _ := p.next()
			if part == nil {
				break
			}
			if len(part)-vnetLen > mostIP+p.ip {
				t.Fatalf("a part of %d bytes", len(part)-vnetLen)
			}
			sum += len(part) - vnetLen - p.data
		}
		if sum == 0 || sum > len(b) {
			t.Fatalf("%d bytes in parts of %d", sum, len(b))
		}
	})
}
