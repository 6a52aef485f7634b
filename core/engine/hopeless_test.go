package engine_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// A session that can no longer be an allowed application is refused at its first bytes, not
// when it has a name: a sender waiting for an acknowledgement would outlast the hold time,
// and pass.
func TestHopelessIsRefusedAtOnce(t *testing.T) {
	tests := []struct {
		name, first string
		end         int // the sending end
		apps        []app.ID
		refused     bool
	}{
		{"redis where http is allowed", "*", 0, []app.ID{app.HTTP}, true},
		{"tls where http is allowed", "\x16", 0, []app.ID{app.HTTP}, true},
		{"ssh banner where http is allowed", "SSH-2.0-x\r\n", 0, []app.ID{app.HTTP}, true},
		{"a server's banner where http is allowed", "SSH-2.0-x\r\n", 1, []app.ID{app.HTTP}, true},
		{"the beginning of http", "G", 0, []app.ID{app.HTTP}, false},
		{"an application over http", "G", 0, []app.ID{app.Elasticsearch}, false},
		{"http where redis and http are allowed", "G", 0, []app.ID{app.Redis, app.HTTP}, false},
		{"unidentified traffic is allowed", "*", 0, []app.ID{app.HTTP, app.Unknown}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			families(t, func(t *testing.T, v6 bool) {
				b := newBench(t)
				b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), tt.apps...))
				q := b.attach(backend.Inline)
				c := newConn(v6, 40000, 8080)
				q.give(c.handshake(t)...)
				if got := actions(q.give(c.seg(t, tt.end, "PA", tt.first))); got != "drop" {
					t.Fatalf("%q: %s, want drop", tt.first, got)
				}
				if got, want := len(q.takeSent()), map[bool]int{true: 2}[tt.refused]; got != want {
					t.Errorf("%d resets were sent, want %d", got, want)
				}
			})
		})
	}
}

// The best claim so far of an early refusal is reported.
func TestHopelessIsNamed(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
	q := b.attach(backend.Inline)
	c := newConn(false, 40000, 8080)
	q.give(c.handshake(t)...)
	q.give(c.seg(t, 0, "PA", "SSH-2.0-x\r\n"))
	b.flows(func(f flow.Record) bool {
		return f.Verdict == flow.Deny && f.Reason == flow.ByDefault && app.ID(f.App) == app.SSH
	})
}

// A tap cannot refuse: it waits for the name.
func TestTapWaitsForTheName(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Monitor, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
	q := b.attach(backend.Tap)
	c := newConn(false, 40000, 8080)
	q.give(c.handshake(t)...)
	for _, part := range []string{"*1\r\n", "$4\r\nPING\r\n"} {
		if got := q.give(c.seg(t, 0, "PA", part)); got[0].Verdict.Action != packet.Pass {
			t.Fatalf("%q: %v, want pass", part, got[0].Verdict.Action)
		}
	}
	b.flows(func(f flow.Record) bool { return f.Verdict == flow.Violate && app.ID(f.App) == app.Redis })
}
