package parsers

// Teller is a parser that reads each side's beginning and nothing else.
type Teller interface {
	Parser
	// Tell reports what a head holds that Probe has claimed. To be independent of how the
	// bytes were cut it must look no further than Probe did. Head is borrowed.
	Tell(m *Meta, dir Dir, head []byte, sink Sink)
}

// OpenHeads is the Stream of a Teller: it waits until Probe has judged both sides, rejects a
// session whose other side is not of the protocol, reports each head once and is done.
func OpenHeads(p Teller, m *Meta, sink Sink) Stream { return &heads{p: p, meta: *m, sink: sink} }

type heads struct {
	p    Teller
	meta Meta
	sink Sink
	seen [2]bool
	odd  uint8 // datagrams that were not the protocol's
}

var _ Stream = (*heads)(nil)

// maxOdd is how many datagrams of a session may be something else after one that was right.
const maxOdd = 3

// Parse reads what Probe would have looked at.
func (h *heads) Parse(dir Dir, data []byte) Result {
	if !h.seen[dir] {
		switch h.p.Probe(&h.meta, dir, data[:min(len(data), MaxHead)]) {
		case More:
			if !h.meta.Datagram() && len(data) < MaxHead {
				return Result{State: Named}
			}
			h.seen[dir] = true // too long to continue waiting
		case No:
			if h.odd++; !h.meta.Datagram() || h.odd > maxOdd || !h.seen[0] && !h.seen[1] {
				return Result{State: Rejected}
			}
		default:
			h.seen[dir] = true
			h.p.Tell(&h.meta, dir, data, h.sink)
		}
	}
	if h.seen[0] && h.seen[1] {
		return Result{Used: len(data), State: Done}
	}
	return Result{Used: len(data), State: Named}
}

// Gap abandons the rest: a head with a gap is not parsed.
func (h *heads) Gap(Dir, int) bool { return h.meta.Datagram() }

func (h *heads) Close() {}
