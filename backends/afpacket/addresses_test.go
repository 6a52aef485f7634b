//go:build linux

package afpacket_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestAddresses: frames with any addresses reach the engine and come back as they were, whatever
// is in the place of the workload's own address; only those that look like a tag do not.
func TestAddresses(t *testing.T) {
	for _, how := range []afpacket.Steering{afpacket.SteerAuto, afpacket.SteerClsact} {
		t.Run(fmt.Sprint(how), func(t *testing.T) { testAddresses(t, how) })
	}
}

func testAddresses(t *testing.T, how afpacket.Steering) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	b := afpacket.New(afpacket.Config{Steering: how})
	const id = 0x123456 // both halves of the number matter
	seen := make(chan packet.Frame, 64)
	serve(t, b, inlineOf(id, ws[0], backend.FailOpen), func(f *packet.Frame) packet.Action {
		if len(f.Data) >= 60 && f.Data[len(f.Data)-1] == 0xee {
			g := *f
			g.Data = bytes.Clone(f.Data)
			seen <- g
		}
		return packet.Pass
	})
	tag, other, all, group := [6]byte{0x02, 0x53, 0x4c, 0, 0, 1}, [6]byte{0x02, 1, 2, 3, 4, 5}, [6]byte{255, 255, 255, 255, 255, 255}, [6]byte{1, 0, 0x5e, 1, 2, 3}
	frame := func(dst, src [6]byte, kind ...byte) []byte {
		f := append(append(append([]byte{}, dst[:]...), src[:]...), kind...)
		for len(f) < 80 {
			f = append(f, byte(len(f)))
		}
		f[79] = 0xee
		return f
	}
	for _, c := range []struct {
		name     string
		from, to *testnet.Workload
		frame    []byte
		counter  string // instead of reaching the engine
	}{
		{"its own", ws[0], ws[1], frame(ws[1].MAC, ws[0].MAC, 0x88, 0xb5), ""},
		{"to all", ws[0], ws[1], frame(all, ws[0].MAC, 0x88, 0xb5), ""},
		{"another's source", ws[0], ws[1], frame(ws[1].MAC, other, 0x88, 0xb5), ""},
		{"another's source to all, tagged", ws[0], ws[1], frame(all, other, 0x81, 0, 0x20, 0, 0x88, 0xb5), ""},
		{"another's source, two tags", ws[0], ws[1], frame(ws[1].MAC, other, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x88, 0xb5), ""},
		{"comes in", ws[1], ws[0], frame(ws[0].MAC, ws[1].MAC, 0x88, 0xb5), ""},
		{"comes in for all", ws[1], ws[0], frame(all, ws[1].MAC, 0x88, 0xb5), ""},
		{"comes in for a group, tagged", ws[1], ws[0], frame(group, ws[1].MAC, 0x81, 0, 0x20, 0, 0x88, 0xb5), ""},
		{"comes in for all, three tags", ws[1], ws[0], frame(all, ws[1].MAC, 0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x88, 0xb5), ""},
		{"comes in flooded", ws[1], ws[0], frame(other, ws[1].MAC, 0x88, 0xb5), ""},
		{"destination is a tag", ws[0], nil, frame(tag, ws[0].MAC, 0x88, 0xb5), "forged"},
		{"source is a tag", ws[0], nil, frame(ws[1].MAC, tag, 0x88, 0xb5), "spoofed"},
		{"both are tags", ws[0], nil, frame(tag, tag, 0x88, 0xb5), "forged"},
		{"comes in from a tag", ws[1], nil, frame(ws[0].MAC, tag, 0x88, 0xb5), "forged"},
	} {
		if c.counter != "" {
			counted(t, b, c.counter, func() { raw(t, c.from, c.frame) })
			continue
		}
		arrives := watch(t, c.to)
		raw(t, c.from, c.frame)
		dir := packet.Egress
		if c.to == ws[0] {
			dir = packet.Ingress
		}
		select {
		case f := <-seen:
			if whole := untag(&f); f.Endpoint != id || f.Dir != dir || !bytes.Equal(whole, c.frame) {
				t.Errorf("%s: the engine got %x of %d, %v, want %x", c.name, whole, f.Endpoint, f.Dir, c.frame)
			}
		case <-time.After(2 * time.Second):
			t.Errorf("%s: did not reach the engine", c.name)
			continue
		}
		if got := arrives(c.frame[79], 2*time.Second); !bytes.Equal(got, c.frame) {
			t.Errorf("%s: %x arrived, want %x", c.name, got, c.frame)
		}
	}
	if n := len(seen); n != 0 {
		t.Errorf("%d frames were judged that should not be", n)
	}
}

// counted checks that a steering counter counts one frame.
func counted(t *testing.T, b *afpacket.Backend, name string, send func()) {
	t.Helper()
	before := counter(t, b, name)
	send()
	for range 200 {
		if counter(t, b, name) > before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if got := counter(t, b, name) - before; got != 1 {
		t.Errorf("%s counted %d, want 1", name, got)
	}
}

// untag returns a frame with the tag that was beside it.
func untag(f *packet.Frame) []byte {
	if f.Flags&packet.VLANStripped == 0 {
		return f.Data
	}
	return slices.Concat(f.Data[:12], []byte{byte(f.VLANProto >> 8), byte(f.VLANProto), byte(f.VLAN >> 8), byte(f.VLAN)}, f.Data[12:])
}

// watch opens a packet socket in a workload and returns a function that waits for the frame with
// a last byte. Its outer tag, which the kernel removes, is put back.
func watch(t *testing.T, w *testnet.Workload) func(last byte, d time.Duration) []byte {
	t.Helper()
	fd := -1
	w.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: w.Index})
	})
	return func(last byte, d time.Duration) []byte {
		defer unix.Close(fd)
		b, oob := make([]byte, 2000), make([]byte, 200)
		for end := time.Now().Add(d); time.Now().Before(end); {
			tv := unix.NsecToTimeval(int64(100 * time.Millisecond))
			_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
			n, m, _, from, err := unix.Recvmsg(fd, b, oob, 0)
			if ll, ok := from.(*unix.SockaddrLinklayer); err != nil || n < 60 || b[n-1] != last || ok && ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			f := packet.Frame{Data: b[:n]}
			const aux = 16 // behind the header of the control message: struct tpacket_auxdata
			if m >= aux+20 {
				if status := binary.NativeEndian.Uint32(oob[aux:]); status&unix.TP_STATUS_VLAN_VALID != 0 {
					f.Flags, f.VLAN, f.VLANProto = packet.VLANStripped, binary.NativeEndian.Uint16(oob[aux+16:]), binary.NativeEndian.Uint16(oob[aux+18:])
				}
			}
			return bytes.Clone(untag(&f))
		}
		return nil
	}
}
