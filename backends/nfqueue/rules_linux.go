package nfqueue

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// hooked is what rules are made of: one endpoint that is active.
type hooked struct {
	name     string
	loopback bool
	queue    uint16
	queues   uint16
	bypass   bool // pass when nobody listens
}

// ruleset says what stands in our table of one namespace.
type ruleset struct {
	endpoints []hooked
	inject    uint32 // the mark of packets of our own
	decided   uint32 // the mark of flows that left; 0: none may
	native    bool
}

var families = []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}

// chains of the table: name, hook and priority. Marks are saved by chains of their own, because a
// verdict of pass ends the chain that it was asked in.
var chains = []struct {
	name     string
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	save     bool
}{
	{"in", nftables.ChainHookPrerouting, priorityBefore, false},
	{"in-save", nftables.ChainHookPrerouting, priorityBefore + 1, true},
	{"out", nftables.ChainHookPostrouting, priorityAfter, false},
	{"out-save", nftables.ChainHookPostrouting, priorityAfter + 1, true},
	{"lo", nftables.ChainHookPostrouting, priorityBefore, false},
	{"lo-save", nftables.ChainHookPostrouting, priorityBefore + 1, true},
}

// place adds to c what makes the table as r says, and nothing else of ours. With fresh, what a
// dead process may have left goes in the same transaction.
func (r *ruleset) place(c *nftables.Conn, fresh bool) {
	for _, family := range families {
		t := c.AddTable(&nftables.Table{Name: tableName, Family: family})
		if fresh {
			c.DelTable(t)
			t = c.AddTable(&nftables.Table{Name: tableName, Family: family})
		}
		for _, def := range chains {
			if def.save && r.decided == 0 {
				continue
			}
			p := def.priority
			ch := c.AddChain(&nftables.Chain{Name: def.name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: def.hook, Priority: &p})
			if !fresh {
				c.FlushChain(ch)
			}
			for _, exprs := range r.rules(def.name, family) {
				c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: exprs})
			}
		}
	}
}

// rules are those of one chain.
func (r *ruleset) rules(chain string, family nftables.TableFamily) [][]expr.Any {
	switch chain {
	case "in-save", "out-save", "lo-save":
		return [][]expr.Any{r.save()}
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
		if r.decided != 0 {
			out = append(out, r.left(of)...)
		}
		if !e.loopback {
			out = append(out, append(of, r.queue(e)))
			continue
		}
		for _, which := range besides(family) {
			rule := append(append([]expr.Any{}, of...), protocol(unix.IPPROTO_TCP)...)
			out = append(out, append(append(rule, which...), r.queue(e)))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return append(exempt(chain, family, r.inject), out...)
}

// exempt are packets that never go to a queue: our own, those to groups, and those that keep a
// link going (neighbour discovery and listener reports).
func exempt(chain string, family nftables.TableFamily, inject uint32) [][]expr.Any {
	out := [][]expr.Any{append(match(expr.MetaKeyMARK, binaryutil.NativeEndian.PutUint32(inject)), accept())}
	switch {
	case chain == "in":
		out = append(out, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.PACKET_HOST}}, accept(),
		})
	case chain == "out" && family == nftables.TableFamilyIPv4:
		out = append(out, append(masked(16, 4, []byte{0xf0, 0, 0, 0}, []byte{0xe0, 0, 0, 0}), accept()))
	case chain == "out":
		out = append(out, append(masked(24, 1, []byte{0xff}, []byte{0xff}), accept()))
	}
	if family == nftables.TableFamilyIPv6 && chain != "lo" {
		for _, span := range [][2]byte{{130, 137}, {143, 143}} {
			out = append(out, append(protocol(unix.IPPROTO_ICMPV6),
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
				&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: span[:1]}, &expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: span[1:]}, accept()))
		}
	}
	return out
}

// left are the rules by which decided flows stay away from the queue: all but TCP's
// segments that begin or end a connection, which the tracker wants to see.
func (r *ruleset) left(of []expr.Any) [][]expr.Any {
	marked := append(append([]expr.Any{}, of...), &expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(r.decided)})
	const finSynRst = 0x07
	tcp := append(append(append([]expr.Any{}, marked...), protocol(unix.IPPROTO_TCP)...),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{finSynRst}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0}}, accept())
	udp := append(append(append([]expr.Any{}, marked...), protocol(unix.IPPROTO_UDP)...), accept())
	return [][]expr.Any{tcp, udp}
}

// save takes the mark of a verdict from the packet to its connection.
func (r *ruleset) save() []expr.Any {
	return append(match(expr.MetaKeyMARK, binaryutil.NativeEndian.PutUint32(r.decided)),
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
		&expr.Immediate{Register: 1, Data: []byte{0, 0, 0, 0}},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true})
}

// queue hands over to the kernel queues of an endpoint.
func (r *ruleset) queue(e hooked) expr.Any {
	var flags uint16
	if e.bypass {
		flags = uint16(expr.QueueFlagBypass)
	}
	if r.native {
		return &expr.Queue{Num: e.queue, Total: e.queues, Flag: expr.QueueFlag(flags)}
	}
	// struct xt_NFQ_info_v3 (linux/netfilter/xt_NFQUEUE.h)
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info, e.queue)
	binary.NativeEndian.PutUint16(info[2:], e.queues)
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

// besides are the conditions for what goes over lo between an application and its sidecar: connections
// whose destination was rewritten; those from where the sidecar of a mesh speaks to its application; those
// with an end that is not the workload's own, because the sidecar speaks in somebody's name.
// What applications of one workload say to each other meets none of them.
func besides(family nftables.TableFamily) [][]expr.Any {
	src, dst, from := uint32(12), uint32(16), []byte{127, 0, 0, 6}
	if family == nftables.TableFamilyIPv6 {
		src, dst, from = 8, 24, append(make([]byte, 15), 6)
	}
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
func masked(offset, length uint32, mask, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask, Xor: make([]byte, length)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

// name is an interface's name as the kernel compares it.
func name(s string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, s)
	return b
}
