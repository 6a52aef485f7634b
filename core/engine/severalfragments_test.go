package engine_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// fragment is a part of a frame's datagram, of either family.
func fragment(f packet.Frame, v6 bool, id uint16, at, n int) packet.Frame {
	head, more := 34, byte(0)
	if v6 {
		head = 54
	}
	data := f.Data[head:]
	if at+n < len(data) {
		data, more = data[at:at+n], 1
	} else {
		data = data[at:]
	}
	b := bytes.Clone(f.Data[:head])
	if v6 {
		b = append(b, b[20], 0, byte(at>>8), byte(at)|more, 0, 0, byte(id>>8), byte(id))
		b[20] = 44
		b = append(b, data...)
		binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
	} else {
		b = append(b, data...)
		binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
		binary.BigEndian.PutUint16(b[18:], id)
		binary.BigEndian.PutUint16(b[20:], uint16(at/8)|uint16(more)<<13)
		b[24], b[25] = 0, 0
		binary.BigEndian.PutUint16(b[24:], packet.Checksum(b[14:34], 0))
	}
	f.Data, f.Wire = b, uint32(len(b))
	return f
}

// TestFragmentsOverBoth: the fragments of one datagram come over two interfaces. It is judged whole, and what was held is
// sent where it came; nothing of a denied one is.
func TestFragmentsOverBoth(t *testing.T) {
	among(t, enforcing, func(t *testing.T, first, second datapath, v6 bool) {
		n := newInterfaces(t)
		n.policy(1, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: []policy.PortSpec{{Proto: 17, Lo: 9000, Hi: 9000}}})
		n.as(1, first)
		n.as(2, second)
		for i, port := range []layers.UDPPort{9000, 9001} {
			whole := frameOf(t, v6, 1, layers.IPProtocolUDP, &layers.UDP{SrcPort: 40000, DstPort: port}, string(make([]byte, 3000)))
			id := uint16(70 + i)
			parts := [3]packet.Frame{fragment(whole, v6, id, 0, 1200), fragment(whole, v6, id, 1200, 1200), fragment(whole, v6, id, 2400, 1200)}
			n.by(1, parts[0])
			n.by(2, parts[1])
			last, want := n.by(1, parts[2]), [2]packet.Action{packet.Pass, packet.Drop}[i]
			if last != want {
				t.Fatalf("port %d: the last fragment: %s, want %s", port, last, want)
			}
			if again := n.by(2, parts[0]); again != want {
				t.Errorf("port %d: the first fragment again: %s, want %s", port, again, want)
			}
			sent := map[uint32][]byte{}
			count := 0
			for end := time.Now().Add(5 * time.Second); count < 2 && want == packet.Pass && time.Now().Before(end); time.Sleep(time.Millisecond) {
				for id := uint32(1); id <= 2; id++ {
					for _, f := range n.queues[id].takeSent() {
						if f.Endpoint != id && n.queues[1] != n.queues[2] {
							t.Errorf("a fragment of interface %d is sent by %d", f.Endpoint, id)
						}
						sent[f.Endpoint] = f.Data
						count++
					}
				}
			}
			if want == packet.Drop {
				if other := append(n.queues[1].takeSent(), n.queues[2].takeSent()...); len(other) != 0 {
					t.Errorf("of a denied datagram %d fragments are sent", len(other))
				}
			} else if !bytes.Equal(sent[1], parts[0].Data) || !bytes.Equal(sent[2], parts[1].Data) {
				t.Errorf("sent: %d frames, want the first by interface 1 and the second by 2", count)
			}
		}
	})
}
