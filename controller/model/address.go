package model

import "net/netip"

// castPrefixes and metadataAddresses are the addresses of the reserved groups that are the same
// everywhere.
var (
	castPrefixes      = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("ff00::/8")}
	metadataAddresses = []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("fd00:ec2::254/128")}
	// LinkPrefixes are the link-local addresses. Without a known workload they are `unmanaged`.
	linkPrefixes = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}
)

// FixedPrefixes returns the prefixes of a reserved group whose addresses are the same everywhere;
// nil for other groups.
func FixedPrefixes(group string) []netip.Prefix {
	switch group {
	case Multicast:
		return castPrefixes
	case Metadata:
		return metadataAddresses
	case Unmanaged:
		return linkPrefixes
	}
	return nil
}

// FixedGroup returns the reserved group of an address that is the same everywhere; "" for others.
func FixedGroup(a netip.Addr) string {
	for _, group := range []string{Metadata, Multicast, Unmanaged} {
		for _, p := range FixedPrefixes(group) {
			if p.Contains(a) {
				return group
			}
		}
	}
	return ""
}

// Broadcast returns the broadcast address of a subnet; false where it has none.
func Broadcast(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 || p.Bits() < 1 {
		return netip.Addr{}, false
	}
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b), true
}
