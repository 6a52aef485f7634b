package session

import "unsafe"

// keyBytes is how many bytes of a Key mean something; padding follows them.
const keyBytes = 2*16 + 2*2 + 4 + 1 + 1

// raw is the key's bytes as they lie in memory, without the padding at the end. There is
// none between the fields, which TestKeyLayout holds.
func (k *Key) raw() []byte { return (*[keyBytes]byte)(unsafe.Pointer(k))[:] }
