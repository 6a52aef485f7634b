//go:build linux

package afpacket_test

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// deluge is a kind of flood: what follows the IP header of its n-th frame, and its protocol.
type deluge struct {
	name     string
	ipv6     bool
	proto    byte
	fragment bool
	payload  func(n int) []byte
	alone    bool // of the sender's own address
	next     int  // number of the next frame: none is sent twice
}

func tcpFlags(flags byte) func(int) []byte {
	return func(n int) []byte {
		b := make([]byte, 20)
		binary.BigEndian.PutUint16(b, uint16(1024+n%60000))
		binary.BigEndian.PutUint16(b[2:], 80)
		b[12], b[13] = 5<<4, flags
		return b
	}
}

func udpTo(n int) []byte {
	b := make([]byte, 9)
	binary.BigEndian.PutUint16(b, uint16(1024+n%60000))
	binary.BigEndian.PutUint16(b[2:], uint16(1024+n%50000))
	b[5] = 9
	return b
}

func echoRequest(kind byte) func(int) []byte {
	return func(n int) []byte { return []byte{kind, 0, 0, 0, byte(n >> 8), byte(n), 0, 1} }
}

func deluges() (out []deluge) {
	for _, v6 := range []bool{false, true} {
		name, icmp, kind := "4", byte(1), byte(8)
		if v6 {
			name, icmp, kind = "6", 58, 128
		}
		out = append(out, deluge{name: "syn" + name, ipv6: v6, proto: 6, payload: tcpFlags(2)}, deluge{name: "ack" + name, ipv6: v6, proto: 6, payload: tcpFlags(0x10)},
			deluge{name: "syn-ack" + name, ipv6: v6, proto: 6, payload: tcpFlags(0x12)}, deluge{name: "udp" + name, ipv6: v6, proto: 17, payload: udpTo},
			deluge{name: "icmp" + name, ipv6: v6, proto: icmp, payload: echoRequest(kind)},
			deluge{name: "fragments" + name, ipv6: v6, proto: 17, fragment: true, payload: udpTo})
	}
	return out
}

// floodNet is the network of the forged sources, 198.18.0.0/15 and 2001:db8:bad::/48.
var floodNet = [2]byte{198, 18}

// frame builds the n-th frame of a flood, from another source each.
func (d *deluge) frame(from, to *testnet.Workload, n int) []byte {
	b := append(append([]byte{}, to.MAC[:]...), from.MAC[:]...)
	body := d.payload(n)
	src := [4]byte{floodNet[0], floodNet[1] | byte(n>>16&1), byte(n >> 8), byte(n)}
	if d.ipv6 {
		ip := make([]byte, 40, 64)
		ip[0], ip[6], ip[7] = 0x60, d.proto, 64
		copy(ip[8:], []byte{0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad})
		copy(ip[20:], src[:])
		if d.alone {
			own := from.IPv6.As16()
			copy(ip[8:], own[:])
		}
		dst := to.IPv6.As16()
		copy(ip[24:], dst[:])
		if d.fragment {
			ip[6] = 44
			ip = append(ip, d.proto, 0, 0, 1, 0, 0, byte(n>>8), byte(n))
		}
		ip[4], ip[5] = 0, byte(len(ip)-40+len(body))
		return append(append(append(b, 0x86, 0xdd), ip...), body...)
	}
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9], ip[3] = 0x45, 64, d.proto, byte(20+len(body))
	if d.fragment {
		ip[6], ip[4], ip[5] = 0x20, byte(n>>8), byte(n)
	}
	copy(ip[12:], src[:])
	if d.alone {
		own := from.IPv4.As4()
		copy(ip[12:], own[:])
	}
	dst := to.IPv4.As4()
	copy(ip[16:], dst[:])
	sum := uint32(0) // a bridge that netfilter watches checks it
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	return append(append(append(b, 0x08, 0x00), ip...), body...)
}

// pour sends frames of a flood for a while, as fast as it can, and returns how many.
func (d *deluge) pour(t testing.TB, from, to *testnet.Workload, long time.Duration) (n int) {
	t.Helper()
	from.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		at := &unix.SockaddrLinklayer{Ifindex: from.Index}
		for begin := time.Now(); n%64 != 0 || time.Since(begin) < long; n++ {
			d.next++
			if err := unix.Sendto(fd, d.frame(from, to, d.next), 0, at); err != nil && err != unix.ENOBUFS {
				return err
			}
		}
		return nil
	})
	return n
}

// ofFlood reports whether a frame belongs to a flood.
func ofFlood(f *packet.Frame) bool {
	ip := f.Data[14:]
	if ip[0]>>4 == 6 {
		return ip[4+8] == 0x0b && ip[5+8] == 0xad
	}
	return ip[12] == floodNet[0] && ip[13]&^1 == floodNet[1]
}

// talk exchanges datagrams with an echo service until stop, one at a time, and returns how many were
// sent and how many were answered.
func talk(c net.Conn, stop <-chan struct{}) (sent, answered int) {
	b := make([]byte, 8)
	for {
		select {
		case <-stop:
			return sent, answered
		default:
		}
		sent++
		_, _ = c.Write([]byte("x"))
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := c.Read(b); err == nil {
			answered++
		}
	}
}

func serveEcho(l net.PacketConn) {
	b := make([]byte, 64)
	for {
		n, from, err := l.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = l.WriteTo(b[:n], from)
	}
}

// firstBound is the bound for first packets in TestFlood.
const firstBound = 500

// TestFlood: packets of forged sources at a workload, and from one, of all kinds: few more than its bound
// reach the engine, all others are counted as its own, and neither a conversation that it has already nor
// those of a neighbour lose anything.
func TestFlood(t *testing.T) {
	for _, d := range deluges() {
		for _, out := range []bool{false, true} {
			name := d.name + " in"
			if out {
				name = d.name + " out"
			}
			t.Run(name, func(t *testing.T) { checkFlood(t, &d, out) })
		}
	}
}

func checkFlood(t *testing.T, d *deluge, out bool) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("web", "near", "client").Workloads
	web, near, client := ws[0], ws[1], ws[2]
	b := afpacket.New(afpacket.Config{FirstPackets: firstBound})
	var reached, others atomic.Int64
	serve(t, b, inlineOf(1, web, backend.FailOpen), func(f *packet.Frame) packet.Action {
		switch {
		case !ofFlood(f):
		case f.Endpoint == 1:
			reached.Add(1)
			return packet.Drop
		default:
			others.Add(1)
		}
		return packet.Pass
	})
	second, err := b.Attach(t.Context(), inlineOf(2, near, backend.FailOpen))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Activate(); err != nil {
		t.Fatal(err)
	}
	stop := converse(client, web, near)
	from, to := client, web
	if out {
		from, to = web, client
	}
	b.TakeUnjudged()
	begin := time.Now()
	sent := int64(d.pour(t, from, to, 150*time.Millisecond))
	took := time.Since(begin)
	for _, n := range stop() {
		if n[1] < n[0] {
			t.Errorf("of %d questions of a conversation %d were answered", n[0], n[1])
		}
	}
	most := int64(firstBound + firstBound/4 + int(took.Seconds()*firstBound*1.25) + 100)
	n := reached.Load()
	if n > most || n < firstBound/2 {
		t.Errorf("%d of %d frames reached the engine, want at most %d and at least %d", n, sent, most, firstBound/2)
	}
	var counted int64
	for _, u := range b.TakeUnjudged() {
		if u.Endpoint != 1 || u.Cause != backend.Flood || !u.Dropped {
			t.Errorf("counted %+v", u)
		}
		counted += int64(u.Frames)
	}
	if counted < (sent-n)*9/10 || counted > sent-n+noise || others.Load() > 0 {
		t.Errorf("%d frames sent, %d reached the engine, %d at a neighbour; %d are counted", sent, n, others.Load(), counted)
	}
}

// converse has a client talk to an echo service of each workload, and returns a function that ends it and
// returns how many questions were sent and answered. They are known when it returns.
func converse(client *testnet.Workload, with ...*testnet.Workload) (stop func() [][2]int) {
	end, ended := make(chan struct{}), make(chan [2]int, len(with))
	for _, w := range with {
		l := w.ListenPacket("udp4", w.Addr("udp4", 0))
		go serveEcho(l)
		c := client.Dial("udp4", l.LocalAddr().String())
		once := make(chan struct{})
		time.AfterFunc(20*time.Millisecond, func() { close(once) })
		talk(c, once)
		go func() { sent, answered := talk(c, end); ended <- [2]int{sent, answered} }()
	}
	return func() (out [][2]int) {
		close(end)
		for range with {
			out = append(out, <-ended)
		}
		return out
	}
}
