package nfqueue

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// recorded returns the messages that place a rule set, as sent to the kernel.
func recorded(t *testing.T, r *ruleset) (out []netlink.Message) {
	t.Helper()
	c, err := nftables.New(nftables.WithTestDial(func(req []netlink.Message) ([]netlink.Message, error) {
		out = append(out, req...)
		ack := make([]netlink.Message, len(req))
		for i, m := range req {
			ack[i] = netlink.Message{Header: netlink.Header{Length: 4, Type: netlink.Error, Sequence: m.Header.Sequence, PID: m.Header.PID}, Data: make([]byte, 4)}
		}
		return ack, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.place(c, true); err != nil {
		t.Fatal(err)
	}
	_ = c.Flush() // there is no kernel to answer; only the requests matter
	return out
}

// TestQueueExpression checks the bytes by which rules queue packets, by both methods: native
// as linux/netfilter/nf_tables.h has them (NFTA_QUEUE_NUM 1, NFTA_QUEUE_TOTAL 2,
// NFTA_QUEUE_FLAGS 3, all big endian; NFT_QUEUE_FLAG_BYPASS 1), and as the target NFQUEUE,
// revision 3, of linux/netfilter/xt_NFQUEUE.h (queuenum, queues_total, flags, queue_bypass in
// host order).
func TestQueueExpression(t *testing.T) {
	be16 := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	expression := func(name string, data []byte) []byte {
		return attr(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, append(attr(1, append([]byte(name), 0)), attr(2|unix.NLA_F_NESTED, data)...))
	}
	native := func(num, flags uint16) []byte {
		return expression("queue", bytes.Join([][]byte{attr(1, be16(num)), attr(2, be16(1)), attr(3, be16(flags))}, nil))
	}
	target := func(num, flags uint16) []byte {
		info := binary.NativeEndian.AppendUint16(nil, num)
		info = binary.NativeEndian.AppendUint16(info, 1)
		info = binary.NativeEndian.AppendUint16(info, flags)
		info = append(info, 0, 0)
		// NFTA_TARGET_NAME 1, NFTA_TARGET_REV 2, NFTA_TARGET_INFO 3
		return expression("target", bytes.Join([][]byte{attr(1, []byte("NFQUEUE\x00")), attr(2, be32(3)), attr(3, info)}, nil))
	}
	tests := []struct {
		name   string
		native bool
		e      hooked
		want   [][]byte
	}{
		{"native", true, hooked{name: "eth0", queue: 0x5101, queues: 1}, [][]byte{native(0x5101, 0)}},
		{"native, bypass, several", true, hooked{name: "eth0", queue: 0x5102, queues: 2, bypass: true}, [][]byte{native(0x5102, 1), native(0x5103, 1)}},
		{"native on lo", true, hooked{name: "lo", loopback: true, queue: 0x5101, queues: 1, bypass: true}, [][]byte{native(0x5101, 1)}},
		{"target", false, hooked{name: "eth0", queue: 0x5101, queues: 1}, [][]byte{target(0x5101, 0)}},
		{"target, bypass, several", false, hooked{name: "eth0", queue: 0x5102, queues: 2, bypass: true}, [][]byte{target(0x5102, 1), target(0x5103, 1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all []byte
			for _, m := range recorded(t, &ruleset{endpoints: []hooked{tt.e}, inject: 7, native: tt.native}) {
				all = append(all, m.Data...)
			}
			for i, want := range tt.want {
				if bytes.Count(all, want) < 2 { // of both families
					t.Errorf("queue %d: % x is not in what goes to the kernel", i, want)
				}
			}
			if other := []byte("NFQUEUE"); bytes.Contains(all, other) == tt.native {
				t.Errorf("the target is there: %v, with native %v", !tt.native, tt.native)
			}
		})
	}
}

// TestSpread checks which byte of a packet chooses its queue.
func TestSpread(t *testing.T) {
	v4, v6 := nftables.TableFamilyIPv4, nftables.TableFamilyIPv6
	tests := []struct {
		name   string
		chain  string
		family nftables.TableFamily
		want   []uint32 // of kinds in order: ICMP errors, then all else
	}{
		{"out", "out", v4, []uint32{19}},
		{"out, IPv6", "out", v6, []uint32{39}},
		{"in", "in", v4, []uint32{27, 27, 15}},
		{"in, IPv6", "in", v6, []uint32{47, 23}},
	}
	for _, tt := range tests {
		var got []uint32
		for _, l := range spread(tt.chain, tt.family) {
			got = append(got, l.offset)
			if header := l.base == expr.PayloadBaseTransportHeader; header != (l.of != nil) {
				t.Errorf("%s: offset %d counts from %v", tt.name, l.offset, l.base)
			}
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}
