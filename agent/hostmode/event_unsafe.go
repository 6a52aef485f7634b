package hostmode

import "unsafe"

// decode copies an event as the kernel's program wrote it; false if it is too short.
func (e *socketsEvent) decode(raw []byte) bool {
	if uintptr(len(raw)) < unsafe.Sizeof(*e) {
		return false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(e)), unsafe.Sizeof(*e)), raw)
	return true
}
