//go:build linux

package afpacket

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestLayout(t *testing.T) {
	var v2 unix.Tpacket2Hdr
	var v3 unix.Tpacket3Hdr
	var vlan unix.TpacketHdrVariant1
	var addr unix.RawSockaddrLinklayer
	var block unix.TpacketBlockDesc
	var hdr unix.TpacketHdrV1
	var pulse steerPulse
	hdrOff := unsafe.Offsetof(block.Hdr)
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"v2 status", v2Status, unsafe.Offsetof(v2.Status)},
		{"v2 len", v2Len, unsafe.Offsetof(v2.Len)},
		{"v2 snaplen", v2Snaplen, unsafe.Offsetof(v2.Snaplen)},
		{"v2 mac", v2Mac, unsafe.Offsetof(v2.Mac)},
		{"v2 sec", v2Sec, unsafe.Offsetof(v2.Sec)},
		{"v2 nsec", v2Nsec, unsafe.Offsetof(v2.Nsec)},
		{"v2 vlan tci", v2VlanTCI, unsafe.Offsetof(v2.Vlan_tci)},
		{"v2 vlan proto", v2VlanProto, unsafe.Offsetof(v2.Vlan_tpid)},
		{"v2 address", v2Addr, unsafe.Sizeof(v2)},
		{"v2 header", v2HdrLen, unsafe.Sizeof(v2) + unsafe.Sizeof(addr)},
		{"v3 next", v3Next, unsafe.Offsetof(v3.Next_offset)},
		{"v3 sec", v3Sec, unsafe.Offsetof(v3.Sec)},
		{"v3 nsec", v3Nsec, unsafe.Offsetof(v3.Nsec)},
		{"v3 snaplen", v3Snaplen, unsafe.Offsetof(v3.Snaplen)},
		{"v3 len", v3Len, unsafe.Offsetof(v3.Len)},
		{"v3 status", v3Status, unsafe.Offsetof(v3.Status)},
		{"v3 mac", v3Mac, unsafe.Offsetof(v3.Mac)},
		{"v3 vlan tci", v3VlanTCI, unsafe.Offsetof(v3.Hv1) + unsafe.Offsetof(vlan.Vlan_tci)},
		{"v3 vlan proto", v3VlanProto, unsafe.Offsetof(v3.Hv1) + unsafe.Offsetof(vlan.Vlan_tpid)},
		{"v3 address", v3Addr, unsafe.Sizeof(v3)},
		{"block status", blockStatus, hdrOff + unsafe.Offsetof(hdr.Block_status)},
		{"block packets", blockPackets, hdrOff + unsafe.Offsetof(hdr.Num_pkts)},
		{"block number", blockSeq, hdrOff + unsafe.Offsetof(hdr.Seq_num)},
		{"block first", blockFirst, hdrOff + unsafe.Offsetof(hdr.Offset_to_first_pkt)},
		{"block size", sizeofBlockDescr, unsafe.Sizeof(block)},
		{"pulse beat", pulseBeat, unsafe.Offsetof(pulse.Beat)},
		{"pulse limit", pulseLimit, unsafe.Offsetof(pulse.Limit)},
		{"pulse out", pulseOut, unsafe.Offsetof(pulse.Out)},
		{"pulse room", pulseRoom, unsafe.Offsetof(pulse.Room)},
		{"pulse endpoints", pulseEndpoints, unsafe.Offsetof(pulse.Endpoints)},
		{"pulse in", pulseIn, unsafe.Offsetof(pulse.In)},
		{"address hatype", addrHatype, unsafe.Offsetof(addr.Hatype)},
		{"address pkttype", addrPkttype, unsafe.Offsetof(addr.Pkttype)},
		{"address size", sizeofAddrLL, unsafe.Sizeof(addr)},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, c.got, c.want)
		}
	}
}
