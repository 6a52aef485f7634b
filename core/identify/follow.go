package identify

// continues reports whether a flow is read beyond the limits, because its parser follows the
// session to its end (parsers.Follower). Those of other processes are not.
func (p *Pool) continues(f *Flow) bool {
	switch {
	case f.far.number != 0 || !f.Follows():
		return false
	case f.follows:
		return true
	case p.following >= maxFollowing:
		return false
	}
	f.follows = true
	p.following++
	return true
}

// unfollow undoes continues.
func (p *Pool) unfollow(f *Flow) {
	if f.follows {
		f.follows = false
		p.following--
	}
}
