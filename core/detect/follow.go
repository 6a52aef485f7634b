package detect

import "github.com/sluicenet/sluice/parsers"

// Follows reports whether the session's parser reads it beyond the limits of identification.
func (d *Ident) Follows() bool {
	if d.ended || d.outcome != Decided || d.winner < 0 || d.stream == nil {
		return false
	}
	_, ok := d.cands.reg.Entry(d.winner).Parser.(parsers.Follower)
	return ok
}
