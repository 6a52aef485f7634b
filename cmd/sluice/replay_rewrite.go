package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/spf13/pflag"

	"github.com/sluicenet/sluice/core/packet"
)

// shuffleWindow is how many packets --shuffle reorders at a time.
const shuffleWindow = 8

// rewriting is how a replay changes packets before the engine reads them. The zero value changes nothing.
type rewriting struct {
	cut      int    // maximum TCP payload of a segment; 0 leaves segments whole
	fragment int    // maximum IP payload of a packet; 0 does not fragment
	skip     int    // packets left out at the beginning of each session
	seed     uint64 // of the order; 0 keeps it
}

func (r *rewriting) flags(f *pflag.FlagSet) {
	f.IntVar(&r.cut, "cut", 0, "divide TCP segments into segments of at most `N` bytes of payload")
	f.Uint64Var(&r.seed, "shuffle", 0, fmt.Sprintf("reorder packets within windows of %d; the same `SEED`, from 1, gives the same order", shuffleWindow))
	f.IntVar(&r.skip, "skip", 0, "leave out the first `K` packets of each session, as a start in mid-stream does")
	f.IntVar(&r.fragment, "fragment", 0, "divide packets into IP fragments of at most `N` bytes, a multiple of 8, after the IP header")
}

func (r *rewriting) check() error {
	switch {
	case r.cut < 0:
		return fmt.Errorf("--cut %d: give the bytes of a segment, 1 or more (0 leaves segments whole)", r.cut)
	case r.skip < 0:
		return fmt.Errorf("--skip %d: give a number of packets, 0 or more", r.skip)
	case r.fragment < 0, r.fragment%8 != 0:
		return fmt.Errorf("--fragment %d: give a multiple of 8, as 64 (0 does not fragment)", r.fragment)
	}
	return nil
}

// flowKey is a session's addresses and ports, the lower end first.
type flowKey struct {
	a, b         packet.Addr
	aPort, bPort uint16
	proto        uint8
}

func keyOf(p *packet.Packet) flowKey {
	k := flowKey{a: p.Src, b: p.Dst, aPort: p.SrcPort, bPort: p.DstPort, proto: p.Proto}
	if c := bytes.Compare(k.a[:], k.b[:]); c > 0 || c == 0 && k.aPort > k.bPort {
		k.a, k.b, k.aPort, k.bPort = k.b, k.a, k.bPort, k.aPort
	}
	return k
}

// rewriter applies a rewriting to the frames of one file and passes the results on. Frames passed to next are borrowed.
type rewriter struct {
	rewriting
	next   func(*packet.Frame)
	rng    *rand.Rand
	seen   map[flowKey]int
	window []packet.Frame
	id     uint32 // of the latest fragmented packet
	packet packet.Packet
}

func newRewriter(r rewriting, next func(*packet.Frame)) *rewriter {
	return &rewriter{rewriting: r, next: next, rng: rand.New(rand.NewPCG(r.seed, 1)), seen: map[flowKey]int{}}
}

// frame takes one frame of the file. What is damaged, cut by the capture or not TCP, UDP or ICMP stays as it is.
func (w *rewriter) frame(f *packet.Frame) {
	p := &w.packet
	if w.rewriting == (rewriting{}) {
		w.next(f)
		return
	}
	p.Decode(f)
	if p.Status != packet.OK {
		w.order(f, false)
		return
	}
	if w.skip > 0 {
		if k := keyOf(p); w.seen[k] < w.skip {
			w.seen[k]++
			return
		}
	}
	if p.PayloadWire != len(p.Payload) {
		w.order(f, false)
		return
	}
	// The rest of what a SYN carries could not follow before the SYN was answered (RFC 7413 4.2).
	if p.Proto != 6 || w.cut == 0 || len(p.Payload) <= w.cut || p.Flags&packet.SYN != 0 {
		w.divide(f, p)
		return
	}
	w.segments(f, p)
}

// segments divides a TCP segment: FIN and PSH belong to the last.
func (w *rewriter) segments(f *packet.Frame, p *packet.Packet) {
	head := f.Data[:p.L3+len(p.Network)-len(p.Payload)]
	tcp := p.L3 + p.IPHeader
	seq := p.Seq
	flags, payload := p.Flags, p.Payload                           // p is decoded again below
	valid := packet.VerifyTransport(p) || packet.LooksOffloaded(p) // a wrong checksum stays wrong
	for at := 0; at < len(payload); at += w.cut {
		end := min(at+w.cut, len(payload))
		g := *f
		g.Data = append(bytes.Clone(head), payload[at:end]...)
		g.Wire = uint32(len(g.Data))
		bits := flags
		if end < len(payload) {
			bits &^= packet.FIN | packet.PSH
		}
		g.Data[tcp+13] = bits
		binary.BigEndian.PutUint32(g.Data[tcp+4:], seq)
		seq += uint32(end - at)
		setLength(g.Data[p.L3:])
		if valid {
			sumTCP(g.Data[tcp:], p)
		}
		w.packet.Decode(&g)
		w.divide(&g, &w.packet)
	}
}

// setLength writes the length of an IP packet and, for IPv4, its header's checksum.
func setLength(ip []byte) {
	if ip[0]>>4 == 6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	clear(ip[10:12])
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip[:int(ip[0]&15)*4], 0))
}

// sumTCP writes the checksum of a TCP segment whose addresses are those of p.
func sumTCP(tcp []byte, p *packet.Packet) {
	clear(tcp[16:18])
	binary.BigEndian.PutUint16(tcp[16:], packet.Checksum(tcp, packet.PseudoSum(&p.Src, &p.Dst, p.Proto, len(tcp))))
}

// divide fragments a packet that is too long (RFC 791 2.3, RFC 8200 4.5). One with IPv6 extension headers stays whole.
func (w *rewriter) divide(f *packet.Frame, p *packet.Packet) {
	ends := p.Proto == 6 && p.Flags&(packet.SYN|packet.FIN|packet.RST) != 0
	body := p.Network[min(p.IPHeader, len(p.Network)):]
	if w.fragment == 0 || len(body) <= w.fragment || p.IPv6 && p.IPHeader != 40 {
		w.order(f, ends)
		return
	}
	w.id++
	head := f.Data[:p.L3+p.IPHeader]
	for at := 0; at < len(body); at += w.fragment {
		end := min(at+w.fragment, len(body))
		g := *f
		g.Data = bytes.Clone(head)
		ip := g.Data[p.L3:]
		offset := uint16(at)
		if end < len(body) && p.IPv6 {
			offset |= 1
		}
		if p.IPv6 {
			g.Data = append(g.Data, ip[6], 0, byte(offset>>8), byte(offset), byte(w.id>>24), byte(w.id>>16), byte(w.id>>8), byte(w.id))
			g.Data[p.L3+6] = 44
		} else {
			field := offset / 8
			if end < len(body) {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(ip[4:], uint16(w.id))
			binary.BigEndian.PutUint16(ip[6:], field)
		}
		g.Data = append(g.Data, body[at:end]...)
		g.Wire = uint32(len(g.Data))
		setLength(g.Data[p.L3:])
		w.order(&g, ends)
	}
}

// order passes a frame on, or keeps it until its window is full. What opens or ends a connection is not moved: the
// engine would otherwise take the session for one in mid-stream, which is what skip is for.
func (w *rewriter) order(f *packet.Frame, ends bool) {
	if w.seed == 0 {
		w.next(f)
		return
	}
	if ends {
		w.finish()
		w.next(f)
		return
	}
	g := *f
	g.Data = slices.Clone(f.Data)
	if w.window = append(w.window, g); len(w.window) == shuffleWindow {
		w.finish()
	}
}

// finish passes on what the window holds, in an order by the seed; times stay in order.
func (w *rewriter) finish() {
	stamps := make([]int64, len(w.window))
	for i := range w.window {
		stamps[i] = w.window[i].Stamp
	}
	w.rng.Shuffle(len(w.window), func(i, j int) { w.window[i], w.window[j] = w.window[j], w.window[i] })
	for i := range w.window {
		w.window[i].Stamp = stamps[i]
		w.next(&w.window[i])
	}
	w.window = w.window[:0]
}
