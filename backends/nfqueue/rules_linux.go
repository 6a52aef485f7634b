package nfqueue

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/sidecar"
)

// hooked is the input of the rules: one active endpoint.
type hooked struct {
	name     string
	loopback bool
	queue    uint16
	queues   uint16
	bypass   bool // pass when no worker listens
	endpoint uint32
}

// ruleset describes the table of one namespace.
type ruleset struct {
	endpoints []hooked
	inject    uint32 // the mark of the engine's own packets
	marks     marks
	alive     alive
	native    bool
	lo, stack bool // there are chains for endpoints on lo, and for others
}

var families = []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}

// chains of the table: name, hook and priority. Separate chains save marks, because a verdict
// of pass ends the chain that queued the packet.
var chains = []struct {
	name     string
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	save     bool
	loopback bool
}{
	{chainAlive, nftables.ChainHookOutput, priorityAlive, false, false},
	{chainLeft, nil, 0, true, false}, // before those whose rules jump to it
	{"in", nftables.ChainHookPrerouting, priorityBefore, false, false},
	{"in-save", nftables.ChainHookPrerouting, priorityBefore + 1, true, false},
	{"out", nftables.ChainHookPostrouting, priorityAfter, false, false},
	{"out-save", nftables.ChainHookPostrouting, priorityAfter + 1, true, false},
	{"lo", nftables.ChainHookPostrouting, priorityBefore, false, true},
	{"lo-save", nftables.ChainHookPostrouting, priorityBefore + 1, true, true},
}

// chainLeft is the chain of packets of decided flows.
const chainLeft = "left"

// place adds to c the messages that make the table match r. With fresh, the remains of a dead
// process are removed in the same transaction.
func (r *ruleset) place(c *nftables.Conn, fresh bool) error {
	for _, family := range families {
		t := c.AddTable(&nftables.Table{Name: tableName, Family: family})
		if fresh {
			c.DelTable(t)
			t = c.AddTable(&nftables.Table{Name: tableName, Family: family})
		}
		if r.marks.acct {
			c.AddChain(&nftables.Chain{Name: chainCounting, Table: t})
		}
		if err := r.placeAlive(c, t); err != nil {
			return err
		}
		for _, def := range chains {
			if def.save && r.marks.base == 0 || def.hook != nil && !r.needs(def.loopback) && def.name != chainAlive || def.name == chainAlive && r.alive.mark == 0 {
				continue
			}
			ch := &nftables.Chain{Name: def.name, Table: t}
			if p := def.priority; def.hook != nil {
				ch.Type, ch.Hooknum, ch.Priority = nftables.ChainTypeFilter, def.hook, &p
			}
			c.AddChain(ch)
			if !fresh {
				c.FlushChain(ch)
			}
			for _, exprs := range r.rules(def.name, family) {
				c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: exprs})
			}
		}
	}
	return nil
}

// needs reports whether chains of a kind are needed, or were: removing one drops the packets
// waiting in queues.
func (r *ruleset) needs(loopback bool) bool {
	for _, e := range r.endpoints {
		r.lo, r.stack = r.lo || e.loopback, r.stack || !e.loopback
	}
	return loopback && r.lo || !loopback && r.stack
}

// rules returns those of one chain.
func (r *ruleset) rules(chain string, family nftables.TableFamily) [][]expr.Any {
	switch chain {
	case "in-save", "out-save", "lo-save":
		return r.save()
	case chainAlive:
		return r.heartbeats()
	case chainLeft:
		return left(family)
	}
	var out [][]expr.Any
	for _, e := range r.endpoints {
		if e.loopback != (chain == "lo") {
			continue
		}
		device := expr.MetaKeyOIFNAME
		if chain == "in" {
			device = expr.MetaKeyIIFNAME
		}
		of := match(device, name(e.name))
		if r.marks.base != 0 {
			out = append(out, r.decided(of))
		}
		out = append(out, r.queued(e, of, chain, family)...)
	}
	if len(out) == 0 {
		return nil
	}
	return append(exempt(chain, r.inject), out...)
}

// queued returns the rules that queue the packets of an endpoint.
func (r *ruleset) queued(e hooked, of []expr.Any, chain string, family nftables.TableFamily) (out [][]expr.Any) {
	add := func(i uint16, which ...[]expr.Any) {
		cond := slices.Concat(append([][]expr.Any{of}, which...)...)
		out = append(out, slices.Concat(cond, r.live(e.queue+i), []expr.Any{r.queue(e, i)}))
		out = append(out, r.dead(e, cond, family)...)
	}
	switch {
	case e.loopback:
		for _, which := range besides(family) {
			add(0, protocol(unix.IPPROTO_TCP), which)
		}
	case e.queues == 1:
		add(0)
	default:
		for _, at := range spread(chain, family) {
			for i := range e.queues {
				add(i, at.of, compared(at.base, at.offset, []byte{byte(e.queues - 1)}, []byte{byte(i)}))
			}
		}
	}
	return out
}

// exempt returns rules for packets that never go to a queue: the engine's own, and the copies of
// the workload's multicast packets that its own network stack receives.
func exempt(chain string, inject uint32) [][]expr.Any {
	out := [][]expr.Any{append(match(expr.MetaKeyMARK, binaryutil.NativeEndian.PutUint32(inject)), accept())}
	if chain == "in" {
		out = append(out, append(match(expr.MetaKeyPKTTYPE, []byte{unix.PACKET_LOOPBACK}), accept()))
	}
	return out
}

// decided returns the rules that send packets of offloaded flows to their chain.
func (r *ruleset) decided(of []expr.Any) []expr.Any {
	return append(slices.Clone(of), &expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(r.marks.kernel)},
		&expr.Verdict{Kind: expr.VerdictJump, Chain: chainLeft})
}

// left returns the rules by which offloaded flows bypass the queue: all but TCP segments that
// begin or end a connection, which the engine must see, and packets that no ordinary flow
// has. A packet that the tracker cannot assign to its connection, by its sequence numbers for
// instance, has no mark.
func left(family nftables.TableFamily) [][]expr.Any {
	plain := func(proto byte) []expr.Any {
		if family == nftables.TableFamilyIPv4 {
			return append(protocol(proto), masked(0, []byte{0x0f}, []byte{5})...) // no options
		}
		return masked(6, []byte{0xff}, []byte{proto}) // no extension headers
	}
	const ack, others = 0x10, 0x27 // FIN, SYN, RST, URG
	return [][]expr.Any{
		append(plain(unix.IPPROTO_TCP),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{ack | others}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{ack}}, accept()),
		append(plain(unix.IPPROTO_UDP), accept()),
	}
}

// save returns the rules that copy the mark of a verdict from the packet to its connection,
// if that is counted and has no other program's mark.
func (r *ruleset) save() [][]expr.Any {
	number := binaryutil.NativeEndian.PutUint32
	base, mask := number(r.marks.base), number(markMask)
	set := slices.Concat(match(expr.MetaKeyMARK, number(r.marks.kernel)), []expr.Any{
		&expr.Ct{Key: expr.CtKeyPKTS, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 8)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
	})
	to := []expr.Any{&expr.Immediate{Register: 1, Data: number(r.marks.kernel)}, &expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true}}
	ours := []expr.Any{
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: base},
	}
	return [][]expr.Any{
		append(match(expr.MetaKeyMARK, make([]byte, 4)), accept()), // nearly all packets
		slices.Concat(set, []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)}}, to),
		slices.Concat(set, ours, to),
		slices.Concat([]expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}}, ours, []expr.Any{
			&expr.Immediate{Register: 1, Data: make([]byte, 4)}, &expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true},
		}),
	}
}

// last is where packets of some kind have the last byte of the other end's address.
type last struct {
	of     []expr.Any // the kind
	base   expr.PayloadBase
	offset uint32
}

// spread returns where the other end's address is. An inbound ICMP error quotes a packet that
// was sent to it, and belongs to its flow.
func spread(chain string, family nftables.TableFamily) []last {
	v6 := family == nftables.TableFamilyIPv6
	kind := func(proto, low, high byte) []expr.Any {
		return append(protocol(proto), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{low}}, &expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{high}})
	}
	const icmpHeader = 8
	switch {
	case chain == "out" && v6:
		return []last{{nil, expr.PayloadBaseNetworkHeader, 39}}
	case chain == "out":
		return []last{{nil, expr.PayloadBaseNetworkHeader, 19}}
	case v6:
		return []last{
			{kind(unix.IPPROTO_ICMPV6, 1, 4), expr.PayloadBaseTransportHeader, icmpHeader + 39},
			{nil, expr.PayloadBaseNetworkHeader, 23},
		}
	}
	return []last{
		{kind(unix.IPPROTO_ICMP, 3, 3), expr.PayloadBaseTransportHeader, icmpHeader + 19},
		{kind(unix.IPPROTO_ICMP, 11, 12), expr.PayloadBaseTransportHeader, icmpHeader + 19},
		{nil, expr.PayloadBaseNetworkHeader, 15},
	}
}

// queue returns the expression for one of the kernel queues of an endpoint.
func (r *ruleset) queue(e hooked, i uint16) expr.Any {
	var flags uint16
	if e.bypass {
		flags = uint16(expr.QueueFlagBypass)
	}
	if r.native {
		return &expr.Queue{Num: e.queue + i, Total: 1, Flag: expr.QueueFlag(flags)}
	}
	// struct xt_NFQ_info_v3 (linux/netfilter/xt_NFQUEUE.h)
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info, e.queue+i)
	binary.NativeEndian.PutUint16(info[2:], 1)
	binary.NativeEndian.PutUint16(info[4:], flags)
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

func match(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

func protocol(p byte) []expr.Any { return match(expr.MetaKeyL4PROTO, []byte{p}) }

// redirected matches connections whose destination was rewritten.
func redirected() []expr.Any {
	bit := binaryutil.NativeEndian.PutUint32(statusDNAT)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: bit, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// besides returns the conditions for traffic on lo between an application and its sidecar:
// connections whose destination was rewritten; those from a mesh sidecar's source address;
// those with an end that is not the workload's own, because the sidecar uses its client's
// address. Traffic among applications of one workload meets none of them.
func besides(family nftables.TableFamily) [][]expr.Any {
	src, dst, v6 := uint32(12), uint32(16), family == nftables.TableFamilyIPv6
	if v6 {
		src, dst = 8, 24
	}
	from := sidecar.Source(v6)
	address := func(at uint32) []expr.Any {
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: uint32(len(from))},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from},
		}
	}
	foreign := func(e *expr.Fib) []expr.Any {
		e.Register, e.ResultADDRTYPE = 1, true
		return []expr.Any{e, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)}}
	}
	return [][]expr.Any{redirected(), address(src), address(dst), foreign(&expr.Fib{FlagSADDR: true}), foreign(&expr.Fib{FlagDADDR: true})}
}

// masked compares bytes of the network header.
func masked(offset uint32, mask, value []byte) []expr.Any {
	return compared(expr.PayloadBaseNetworkHeader, offset, mask, value)
}

// compared compares bytes of a header.
func compared(base expr.PayloadBase, offset uint32, mask, value []byte) []expr.Any {
	length := uint32(len(mask))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask, Xor: make([]byte, length)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

// name returns an interface's name as the kernel compares it.
func name(s string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, s)
	return b
}
