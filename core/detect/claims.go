package detect

import "github.com/sluicenet/sluice/parsers"

// Side is the result of identification about which end is the client.
type Side uint8

// Sides.
const (
	// UnknownSide: undetermined by the bytes so far.
	UnknownSide Side = iota
	// AsAssumed: the client is Meta.Client.
	AsAssumed
	// Exchanged: Meta.Server acted as the client.
	Exchanged
)

// String returns "unknown", "as assumed" or "exchanged".
func (s Side) String() string { return [...]string{"unknown", "as assumed", "exchanged", ""}[s&3] }

// turn returns the side in terms of exchanged ends.
func (s Side) turn() Side { return [...]Side{UnknownSide, Exchanged, AsAssumed, UnknownSide}[s&3] }

// sideOf returns the side that follows from a role seen in a direction.
func sideOf(p parsers.Part, dir parsers.Dir) Side {
	switch {
	case p == parsers.EitherPart:
		return UnknownSide
	case (p == parsers.ServerPart) == (dir == parsers.ToClient):
		return AsAssumed
	}
	return Exchanged
}

// claim is one parser's match for a session, by direction.
type claim struct {
	match  [2]parsers.Match // No before its first probe
	no     [2]bool          // it returned No, which is final
	turned [2]bool          // it claimed that direction's head as the other side's
	side   Side
}

// strength returns how strong the claim is: certain once both sides are claimed.
func (c *claim) strength() parsers.Match {
	a, b := c.match[0], c.match[1]
	if a >= parsers.Likely && b >= parsers.Likely {
		return parsers.Certain
	}
	return max(a, b)
}

// flip returns 1 where the parser must be given each direction as the other.
func (c *claim) flip() parsers.Dir {
	switch {
	case c.side == Exchanged, c.side == UnknownSide && (c.turned[0] || c.turned[1]):
		return 1
	}
	return 0
}

// exchange swaps the directions after the ends of the session were exchanged.
func (c *claim) exchange() {
	c.match[0], c.match[1] = c.match[1], c.match[0]
	swap(&c.no)
	swap(&c.turned)
	for dir := range c.turned {
		c.turned[dir] = !c.turned[dir] && c.match[dir] >= parsers.Likely
	}
	c.side = c.side.turn()
}

func swap(b *[2]bool) { b[0], b[1] = b[1], b[0] }
