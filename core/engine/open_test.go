package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// refusing is a backend whose first inline attachments fail.
type refusing struct {
	memBackend
	times int
}

func (f *refusing) Attach(ctx context.Context, ep backend.Endpoint) (backend.Attachment, error) {
	if ep.Kind == backend.Inline && f.times > 0 {
		f.times--
		return nil, errors.New("not now")
	}
	return f.memBackend.Attach(ctx, ep)
}

// newRefusing returns a bench on a backend that fails so many times.
func newRefusing(t *testing.T, keep bool, times int) (*bench, *refusing) {
	t.Helper()
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	be := &refusing{memBackend{inline: newMemQueue(), taps: map[uint32]*memQueue{}}, times}
	b := &bench{t: t, e: engine.New(engine.Config{Parsers: reg, KeepOpen: keep}), be: &be.memBackend}
	t.Cleanup(func() { b.e.Close() })
	return b, be
}

// attachWith attaches the bench's endpoint by a backend.
func (b *bench) attachWith(be backend.Backend, kind backend.Kind) error {
	return b.e.Attach(context.Background(), be, backend.Endpoint{ID: 1, Kind: kind, MAC: [6]byte{2, 0, 0, 0, 0, 1}}, "w")
}

// openTuples are connections of the bench's workload to ports 8080 and 8081.
func openTuples(v6 bool) []role.Tuple {
	own, peer := peers(v6)
	return []role.Tuple{{Local: own, Remote: peer, LocalPort: 40000, RemotePort: 8080, Proto: packet.ProtoTCP}, {Local: own, Remote: peer, LocalPort: 40000, RemotePort: 8081, Proto: packet.ProtoUDP}}
}

// refusedAt waits until the connections that the bench opened are denied.
func (b *bench) refusedAt(way string, sessions int) {
	b.t.Helper()
	denied := map[uint64]bool{}
	b.flows(func(f flow.Record) bool {
		if f.Verdict == flow.Deny && f.Outcome == flow.OutcomeDenied && f.Enforced {
			denied[f.Session] = true
		}
		return len(denied) == sessions
	})
}

// TestOpenIsRefusedAtEverySwitch: connections that no rule allows are open, idle and busy, those
// of which packets were seen and those that only sockets show, TCP and UDP. Whatever way leads
// to enforcement, all are refused without a further packet of theirs.
func TestOpenIsRefusedAtEverySwitch(t *testing.T) {
	for _, from := range []policy.Mode{policy.Discover, policy.Monitor} {
		families(t, func(t *testing.T, v6 bool) {
			for _, way := range []string{"at once", "policy long before the attachment", "attachment retried", "first attachment"} {
				t.Run(from.String()+", "+way, func(t *testing.T) { refusedBy(t, v6, from, way) })
			}
		})
	}
}

func refusedBy(t *testing.T, v6 bool, from policy.Mode, way string) {
	times := 0
	if way == "attachment retried" {
		times = 2
	}
	b, be := newRefusing(t, false, times)
	b.policy(1, from, policy.WorkloadSpec{})
	sessions := 2
	if way != "first attachment" {
		if err := b.attachWith(be, backend.Tap); err != nil {
			t.Fatal(err)
		}
		tap := b.be.taps[1]
		c := newConn(v6, 50000, 8080)
		tap.give(c.handshake(t)...)
		u := &layers.UDP{SrcPort: 50000, DstPort: 8081}
		tap.give(frameOf(t, v6, 0, layers.IPProtocolUDP, u, "question"))
		b.e.SetHeld(1, openTuples(v6), nil)
		sessions = 4
		began := map[uint64]bool{}
		b.flows(func(f flow.Record) bool { began[f.Session] = true; return len(began) == sessions })
	}
	b.policy(2, policy.Protect, policy.WorkloadSpec{})
	if way == "policy long before the attachment" {
		time.Sleep(50 * time.Millisecond)
		b.be.taps[1].give(newConn(v6, 50001, 8080).handshake(t)...) // judged on the tap by the new policy
		sessions++
	}
	for b.attachWith(be, backend.Inline) != nil {
		if times--; times < 0 {
			t.Fatal("it is never attached")
		}
	}
	if way == "first attachment" {
		b.e.SetHeld(1, openTuples(v6), nil)
	}
	b.refusedAt(way, sessions)
	probes := 0
	for _, f := range b.be.inline.takeSent() {
		if tcp, ok := layersOf(t, f).Layer(layers.LayerTypeTCP).(*layers.TCP); ok && tcp.ACK && !tcp.RST && f.Dir == packet.Ingress {
			probes++
		}
	}
	if want := (sessions + 1) / 2; probes < want {
		t.Errorf("%d probes, want one for each of %d TCP connections", probes, want)
	}
}

// TestOpenMovesUnjudged: connections that are allowed and silent move between datapaths as they
// are, and are refused there when their rule is deleted.
func TestOpenMovesUnjudged(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080)), policy.RuleSpec{ID: 8, From: 1, To: 2, Ports: []policy.PortSpec{{Proto: 17, Lo: 8081, Hi: 8081}}})
		b.attach(backend.Inline)
		b.e.SetHeld(1, openTuples(v6), nil)
		began := map[uint64]bool{}
		b.flows(func(f flow.Record) bool {
			if f.Verdict != flow.Allow || f.Evidence != flow.EvidenceSocket && f.Evidence != flow.EvidencePort {
				t.Errorf("record %+v, want it allowed, by its socket", f)
			}
			began[f.Session] = true
			return len(began) == 2
		})
		other := &memBackend{inline: newMemQueue(), taps: map[uint32]*memQueue{}}
		if err := b.attachBy(other, backend.StackSide); err != nil {
			t.Fatal(err)
		}
		b.policy(2, policy.Protect, policy.WorkloadSpec{})
		b.refusedAt("rule deleted", 2)
		if len(other.inline.takeSent()) == 0 || len(b.be.inline.takeSent()) > 0 {
			t.Error("the probe is not sent by the new datapath")
		}
	})
}

// TestKeptAtSwitch: with KeepOpen, what was open continues as a violation, through another
// backend too, and what begins later is refused.
func TestKeptAtSwitch(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b, be := newRefusing(t, true, 0)
		b.policy(1, policy.Discover, policy.WorkloadSpec{})
		if err := b.attachWith(be, backend.Tap); err != nil {
			t.Fatal(err)
		}
		c := newConn(v6, 50000, 8080)
		b.be.taps[1].give(c.handshake(t)...)
		b.policy(2, policy.Protect, policy.WorkloadSpec{})
		if err := b.attachWith(be, backend.Inline); err != nil {
			t.Fatal(err)
		}
		b.flows(func(f flow.Record) bool { return f.Verdict == flow.Violate && f.Enforced })
		other := &memBackend{inline: newMemQueue(), taps: map[uint32]*memQueue{}}
		for _, q := range []*memQueue{b.be.inline, other.inline} {
			if q == other.inline {
				if err := b.attachBy(other, backend.StackSide); err != nil {
					t.Fatal(err)
				}
			}
			if got := actions(q.give(c.seg(t, 0, "A", "x"), c.seg(t, 1, "A", "x"))); got != "pass pass" {
				t.Errorf("it continues: %s", got)
			}
			if got := actions(q.give(newConn(v6, 50001, 8080).seg(t, 0, "S", ""))); got != "drop" {
				t.Errorf("a new one: %s", got)
			}
		}
	})
}
