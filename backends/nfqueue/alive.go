package nfqueue

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// alive describes the heartbeat of one namespace's queues. A set has an element for each queue,
// which expires after limit; packets go to a queue only while it is there, and follow the fail
// mode afterwards. A heartbeat is a datagram to the port that is the queue's number: a rule adds
// the element again and drops the datagram, so that it costs no change of the rules.
type alive struct {
	mark  uint32 // of heartbeats; 0: there are none, and packets wait for a stopped process
	limit time.Duration
}

const (
	chainAlive = "alive"
	setAlive   = "alive"
	// priorityAlive is before every other hook of locally sent packets, the connection tracker's
	// included.
	priorityAlive = -1000
	// objectCounter is NFT_OBJECT_COUNTER.
	objectCounter = 1
	// operationUpdate is NFT_DYNSET_OP_UPDATE.
	operationUpdate = 1
)

// keyOf is a queue's key in the set: a port as in a header.
func keyOf(queue uint16) []byte { return binary.BigEndian.AppendUint16(nil, queue) }

// counterOf is the name of the counter of packets that met no heartbeat.
func counterOf(queue uint16, bypass bool) string {
	if bypass {
		return fmt.Sprintf("passed-%d", queue)
	}
	return fmt.Sprintf("dropped-%d", queue)
}

// placeAlive adds the set, with the elements and counters of all queues.
func (r *ruleset) placeAlive(c *nftables.Conn, t *nftables.Table) error {
	if r.alive.mark == 0 {
		return nil
	}
	set := &nftables.Set{Table: t, Name: setAlive, KeyType: nftables.TypeInetService, Dynamic: true, HasTimeout: true, Size: lastQueue - firstQueue + 1}
	var elements []nftables.SetElement
	for _, e := range r.endpoints {
		c.AddObj(&nftables.CounterObj{Table: t, Name: counterOf(e.queue, e.bypass)})
		for i := range e.queues {
			elements = append(elements, nftables.SetElement{Key: keyOf(e.queue + i), Timeout: r.alive.limit})
		}
	}
	if err := c.AddSet(set, nil); err != nil {
		return fmt.Errorf("add set: %w", err)
	}
	if len(elements) == 0 {
		return nil
	}
	if err := c.SetAddElements(set, elements); err != nil {
		return fmt.Errorf("add elements: %w", err)
	}
	return nil
}

// heartbeats returns the rule that handles heartbeats.
func (r *ruleset) heartbeats() [][]expr.Any {
	return [][]expr.Any{slices.Concat(
		match(expr.MetaKeyMARK, binaryutil.NativeEndian.PutUint32(r.alive.mark)), protocol(unix.IPPROTO_UDP),
		[]expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Dynset{SrcRegKey: 1, SetName: setAlive, Operation: operationUpdate, Timeout: r.alive.limit},
			&expr.Verdict{Kind: expr.VerdictDrop},
		})}
}

// live is the condition that a queue has a heartbeat.
func (r *ruleset) live(queue uint16) []expr.Any {
	if r.alive.mark == 0 {
		return nil
	}
	return []expr.Any{&expr.Immediate{Register: 1, Data: keyOf(queue)}, &expr.Lookup{SourceRegister: 1, SetName: setAlive}}
}

// dead returns the rules for packets that meet a condition while their queue has no heartbeat.
// Neighbour discovery (RFC 4861 6.1 and 7.1: hop limit 255, no extension headers) passes, as in
// the steering programs.
func (r *ruleset) dead(e hooked, of []expr.Any, family nftables.TableFamily) (out [][]expr.Any) {
	if r.alive.mark == 0 {
		return nil
	}
	if !e.bypass && !e.loopback && family == nftables.TableFamilyIPv6 {
		out = append(out, slices.Concat(of, masked(6, []byte{0xff, 0xff}, []byte{unix.IPPROTO_ICMPV6, 255}), []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{133}}, &expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{136}}, accept(),
		}))
	}
	verdict := accept()
	if !e.bypass {
		verdict = &expr.Verdict{Kind: expr.VerdictDrop}
	}
	return append(out, append(slices.Clone(of), &expr.Objref{Type: objectCounter, Name: counterOf(e.queue, e.bypass)}, verdict))
}
