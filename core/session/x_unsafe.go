package session

import "unsafe"

// keyBytes is the number of significant bytes of a Key; padding follows them.
const keyBytes = 2*16 + 2*2 + 4 + 1 + 1

// raw returns the key's bytes in memory, without the padding at the end. There is none
// between the fields (TestKeyLayout).
func (k *Key) raw() []byte { return (*[keyBytes]byte)(unsafe.Pointer(k))[:] }
