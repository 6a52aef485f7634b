package server

import (
	"cmp"
	"container/list"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// maxCrossings bounds the remembered simultaneous opens. One that is forgotten while it is open
// becomes two rows.
const maxCrossings = 10_000

// crossings makes one connection of a simultaneous open (RFC 9293 3.5), whose two ends each report
// themselves as its client. The client is the end whose SYN was first: of two reports in one
// request the earlier one, else that whose report came first.
type crossings struct {
	open  map[crossing]*list.Element
	order *list.List // of *crossed, used last at the back
}

// crossing is the two ends of a connection, in their order.
type crossing struct{ lower, higher netip.AddrPort }

type crossed struct {
	of          crossing
	lowerClient bool
	begun       [2]bool // by the end that reports, the lower one first
}

func newCrossings() crossings { return crossings{map[crossing]*list.Element{}, list.New()} }

// oriented returns the connections of a request with simultaneous opens turned to the client that
// both their ends are reported with. Others are unchanged.
func (x *crossings) oriented(list []*controlv1.Connection) []*controlv1.Connection {
	var both []int
	for i, c := range list {
		if c.GetSession() != 0 && (c.Simultaneous || len(x.open) > 0) {
			both = append(both, i)
		}
	}
	if len(both) == 0 {
		return list
	}
	slices.SortStableFunc(both, func(a, b int) int { return cmp.Compare(list[a].First, list[b].First) })
	out := slices.Clone(list)
	for _, i := range both {
		out[i] = x.orient(list[i])
	}
	return out
}

// crossingOf returns the ends of a connection, and whether the lower one is its client.
func crossingOf(c *controlv1.Connection) (k crossing, lower, ok bool) {
	client, ok1 := netip.AddrFromSlice(c.Client)
	server, ok2 := netip.AddrFromSlice(c.Server)
	k = crossing{netip.AddrPortFrom(client, uint16(c.ClientPort)), netip.AddrPortFrom(server, uint16(c.ServerPort))}
	if lower = k.lower.Compare(k.higher) < 0; !lower {
		k.lower, k.higher = k.higher, k.lower
	}
	return k, lower, ok1 && ok2
}

// orient returns a report of a simultaneous open with the client of the other end's report, and
// others as they are. An agent that was restarted does not know any more that a connection was one.
func (x *crossings) orient(c *controlv1.Connection) *controlv1.Connection {
	k, lower, ok := crossingOf(c)
	at := x.open[k]
	if !ok || !c.Simultaneous && (at == nil || c.Sessions > 0) {
		return c
	}
	reporter := 0 // the end that reports
	if lower != c.Egress {
		reporter = 1
	}
	if at == nil || c.Sessions > 0 && at.Value.(*crossed).begun[reporter] {
		at = x.insert(k, lower, at)
	}
	x.order.MoveToBack(at)
	e := at.Value.(*crossed)
	e.begun[reporter] = true
	out := proto.CloneOf(c)
	if out.Attrs == nil {
		out.Attrs = make(map[string]string, 1)
	}
	out.Attrs["handshake"] = "simultaneous"
	if e.lowerClient != lower {
		turn(out)
	}
	return out
}

// insert adds a connection in place of an earlier one of the same ends, which may be nil.
func (x *crossings) insert(k crossing, lowerClient bool, old *list.Element) *list.Element {
	if old == nil && len(x.open) >= maxCrossings {
		old = x.order.Front()
	}
	if old != nil {
		delete(x.open, old.Value.(*crossed).of)
		x.order.Remove(old)
	}
	at := x.order.PushBack(&crossed{of: k, lowerClient: lowerClient})
	x.open[k] = at
	return at
}

// turn exchanges the client and the server of a report.
func turn(c *controlv1.Connection) {
	c.Egress = !c.Egress
	c.Client, c.Server = c.Server, c.Client
	c.ClientPort, c.ServerPort = c.ServerPort, c.ClientPort
	c.PacketsOut, c.PacketsIn = c.PacketsIn, c.PacketsOut
	c.BytesOut, c.BytesIn = c.BytesIn, c.BytesOut
}
