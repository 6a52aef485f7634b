package afpacket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
)

// The tag that replaces a workload's own address on the service port: three bytes of prefix,
// locally administered, and the endpoint's number.
const tag0, tag1, tag2 = 0x02, 0x53, 0x4c

// A frame in which the workload's own address is not in its place (broadcast, a group, a second
// address, a forged one) keeps its addresses and has two VLAN tags before all others instead:
// the outer one holds the lower half of the endpoint's number and the direction, the inner one
// the upper half.
const (
	apart       = 1 << 32 // in Frame.Slot: the frame had them
	apartEgress = 0x2000  // in the outer tag, as in steer.c
	apartTags   = 8       // bytes of both
	vlanProto   = unix.ETH_P_8021Q
)

func isTag(mac []byte) bool {
	_ = mac[5]
	return mac[0] == tag0 && mac[1] == tag1 && mac[2] == tag2
}

func tagID(mac []byte) uint32 {
	_ = mac[5]
	return uint32(mac[3])<<16 | uint32(mac[4])<<8 | uint32(mac[5])
}

func putTag(mac []byte, id uint32) {
	_ = mac[5]
	mac[0], mac[1], mac[2] = tag0, tag1, tag2
	mac[3], mac[4], mac[5] = byte(id>>16), byte(id>>8), byte(id)
}

// whose is the endpoint and direction of a frame on the service port; id is 0 where it has none.
type whose struct {
	id    uint32
	dir   packet.Direction
	at    int // offset of the tag in its addresses
	apart bool
}

// tagOf reads a received frame's tag. Its outer VLAN tag is beside the data, as status shows.
func tagOf(data []byte, status uint32, tci uint16) whose {
	switch {
	case isTag(data):
		return whose{id: tagID(data), dir: packet.Ingress}
	case isTag(data[6:]):
		return whose{id: tagID(data[6:]), dir: packet.Egress, at: 6}
	case status&unix.TP_STATUS_VLAN_VALID == 0 || len(data) < 18 || binary.BigEndian.Uint16(data[12:]) != vlanProto:
		return whose{}
	}
	w := whose{dir: packet.Ingress, apart: true}
	if tci&apartEgress != 0 {
		w.dir = packet.Egress
	}
	w.id = uint32(tci&0xfff) | uint32(binary.BigEndian.Uint16(data[14:])&0xfff)<<12
	return w
}

// withoutTag removes the inner tag from the data.
func withoutTag(data []byte, v *packet.VNet) []byte {
	copy(data[4:16], data[:12])
	shift(v, -4)
	return data[4:len(data):len(data)]
}

// putTags writes the two tags between the addresses of a frame and the rest of it, which begins
// at apartTags bytes further on.
func putTags(frame []byte, id uint32, dir packet.Direction) {
	tci := uint16(id & 0xfff)
	if dir == packet.Egress {
		tci |= apartEgress
	}
	binary.BigEndian.PutUint16(frame[12:], vlanProto)
	binary.BigEndian.PutUint16(frame[14:], tci)
	binary.BigEndian.PutUint16(frame[16:], vlanProto)
	binary.BigEndian.PutUint16(frame[18:], uint16(id>>12)&0xfff)
}

// shift moves the offsets of the offload metadata by n bytes.
func shift(v *packet.VNet, n int) {
	le := binary.LittleEndian
	if x := le.Uint16(v[2:]); x != 0 {
		le.PutUint16(v[2:], uint16(int(x)+n))
	}
	if v[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 {
		le.PutUint16(v[6:], uint16(int(le.Uint16(v[6:]))+n))
	}
}
