package session

// Expected returns the sequence number that the receiver of a segment with payload expected
// before it: where a direction's bytes begin, if none was seen yet. It is valid for segments
// that are Valid and carry no SYN.
func (r TCPResult) Expected() uint32 { return r.before }
