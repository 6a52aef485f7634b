package session

// Expected is the sequence number that the receiver of a segment with payload expected before
// it came: where a direction's bytes begin, if none of them was seen yet. It is
// valid for segments that are Valid and carry no SYN.
func (r TCPResult) Expected() uint32 { return r.before }
