package server

import (
	"net/netip"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
)

// maxForgeries bounds the remembered forgeries.
const maxForgeries = 4096

// forgeryFor is how long the sender of a forgery is remembered, ns: agents sum up forged packets for 10 s.
const forgeryFor = int64(30e9)

// forgery is what the reports of both ends about packets with another's source address have in common.
type forgery struct {
	client, server netip.Addr
	port           uint32
	proto          uint32
}

// forger is the workload that sent them, as its own end reported.
type forger struct {
	member *member
	last   int64 // ns since the epoch, by its node's clock
}

// forgeries remembers the senders of forged packets. The end that receives them knows the forged address
// only, which is no evidence of the sender. The server's lock guards it.
type forgeries struct{ senders map[forgery]forger }

func forgeryOf(c *controlv1.Connection) (k forgery, ok bool) {
	client, ok1 := netip.AddrFromSlice(c.GetClient())
	server, ok2 := netip.AddrFromSlice(c.GetServer())
	return forgery{client.Unmap(), server.Unmap(), c.GetServerPort(), c.GetProto()}, ok1 && ok2 && c.Reason == controlv1.Reason_REASON_SPOOFED
}

// note remembers who sent what is reported as forged.
func (f *forgeries) note(d *directory, n *node, list []*controlv1.Connection) {
	for _, c := range list {
		k, ok := forgeryOf(c)
		if !ok || !c.Egress {
			continue
		}
		if m := d.reporter(n, c); m != nil {
			if f.senders == nil || len(f.senders) >= maxForgeries {
				f.senders = make(map[forgery]forger)
			}
			f.senders[k] = forger{m, c.Last}
		}
	}
}

// name corrects the client of a connection that its receiver reports as forged: it is the workload that sent
// it, where that is known, and else nobody but an address.
func (f *forgeries) name(client *end, c *controlv1.Connection) {
	k, ok := forgeryOf(c)
	if !ok || c.Egress || client.member == nil {
		return
	}
	if s, ok := f.senders[k]; ok && c.First <= s.last+forgeryFor && s.last <= c.Last+forgeryFor {
		client.member, client.group = s.member, s.member.group
		return
	}
	client.member, client.host, client.group = nil, nil, model.Unmanaged
}
