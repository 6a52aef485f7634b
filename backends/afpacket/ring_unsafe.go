//go:build linux

package afpacket

import (
	"sync/atomic"
	"unsafe"
)

// Offsets within the structures of linux/if_packet.h, which are the same on
// every machine: struct tpacket2_hdr, tpacket3_hdr, tpacket_block_desc and sockaddr_ll.
// layout_test.go compares them with golang.org/x/sys/unix.
const (
	v2Status, v2Len, v2Snaplen, v2Mac     = 0, 4, 8, 12
	v2Sec, v2Nsec, v2VlanTCI, v2VlanProto = 16, 20, 24, 26
	v2Addr                                = 32 // struct sockaddr_ll follows the header

	v3Next, v3Sec, v3Nsec, v3Snaplen, v3Len  = 0, 4, 8, 12, 16
	v3Status, v3Mac, v3VlanTCI, v3VlanProto  = 20, 24, 32, 36
	v3Addr                                   = 48
	blockStatus, blockPackets, blockFirst    = 8, 12, 16
	blockSeq                                 = 24
	addrHatype, addrPkttype                  = 8, 10
	v2HdrLen, sizeofAddrLL, sizeofBlockDescr = 52, 20, 48
)

// ring is shared memory of a packet socket, mapped into the process.
type ring []byte

// status reads a word that the kernel writes; what the kernel published before is visible
// afterwards. off is a multiple of 4 inside the ring.
func (r ring) status(off int) uint32 {
	_ = r[off+3]
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&r[off])))
}

// setStatus publishes earlier writes and returns the slot.
func (r ring) setStatus(off int, v uint32) {
	_ = r[off+3]
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&r[off])), v)
}

// u32 and u16 read host-order fields of a slot owned by the process.
func (r ring) u32(off int) uint32 {
	_ = r[off+3]
	return *(*uint32)(unsafe.Pointer(&r[off]))
}

func (r ring) u16(off int) uint16 {
	_ = r[off+1]
	return *(*uint16)(unsafe.Pointer(&r[off]))
}

// setU32 writes a host-order field of a slot owned by the process.
func (r ring) setU32(off int, v uint32) {
	_ = r[off+3]
	*(*uint32)(unsafe.Pointer(&r[off])) = v
}

// Offsets of struct pulse in the mapped control map. layout_test.go compares them.
const pulseBeat, pulseLimit, pulseOut, pulseRoom, pulseEndpoints, pulseIn = 0, 8, 16, 24, 32, 64

// loadU64 reads a word of a mapped BPF map; off is a multiple of 8.
func loadU64(mem []byte, off int) uint64 {
	_ = mem[off+7]
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&mem[off])))
}

// storeU64 writes a word of a mapped BPF map; off is a multiple of 8.
func storeU64(mem []byte, off int, v uint64) {
	_ = mem[off+7]
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&mem[off])), v)
}
