package sidecar_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/sidecar"
)

// TestLookups finds destinations at once, late and never.
func TestLookups(t *testing.T) {
	known := sidecar.Lookup{Known: true, Addr: addr("10.96.0.1"), Port: 80}
	opening, unknown, last := sidecar.Lookup{Opening: true}, sidecar.Lookup{}, sidecar.Lookup{Last: true}
	const retry, found, missing = sidecar.Retry, sidecar.Found, sidecar.Missing
	for _, tt := range []struct {
		name  string
		tries []sidecar.Lookup
		want  []sidecar.Result
	}{
		{"at once", []sidecar.Lookup{known}, []sidecar.Result{found}},
		{"after the first packets", []sidecar.Lookup{opening, opening, opening, opening, known}, []sidecar.Result{retry, retry, retry, retry, found}},
		{"at the last moment", []sidecar.Lookup{unknown, unknown, known}, []sidecar.Result{retry, retry, found}},
		{"never", []sidecar.Lookup{opening, unknown, unknown, unknown}, []sidecar.Result{retry, retry, retry, missing}},
		{"nobody to ask", []sidecar.Lookup{opening, last}, []sidecar.Result{retry, missing}},
	} {
		var d sidecar.Destinations
		for i, l := range tt.tries {
			l.Session = 7
			if got := d.Add(&l); got != tt.want[i] {
				t.Errorf("%s, attempt %d: %d, want %d", tt.name, i, got, tt.want[i])
			}
		}
		a, port, ok := d.Server(7)
		if want := tt.want[len(tt.want)-1] == found; ok != want || ok && (a != known.Addr || port != known.Port) {
			t.Errorf("%s: %v %d %t", tt.name, a.Netip(), port, ok)
		}
		if _, _, ok := d.Server(8); ok {
			t.Errorf("%s: another session has a destination", tt.name)
		}
	}
}

// TestQuestion checks every kind of session on lo.
func TestQuestion(t *testing.T) {
	for _, f := range families {
		for _, tt := range []struct {
			name           string
			client, server string
			dir            packet.Direction
			looked, known  bool
			want           sidecar.Question
		}{
			{"being looked up", f.own, f.source, packet.Egress, false, false, sidecar.AskLater},
			{"to a known destination", f.own, f.source, packet.Egress, true, true, sidecar.AskPolicy},
			{"to an unknown destination", f.own, f.source, packet.Egress, true, false, sidecar.AskNobody},
			{"from the sidecar", f.source, f.own, packet.Ingress, true, true, sidecar.AskClients},
			{"from the sidecar in a client's name", f.peer, f.own, packet.Ingress, true, true, sidecar.AskPolicy},
		} {
			var d sidecar.Destinations
			s := between(tt.client, tt.server, tt.dir, app.HTTP)
			s.Loopback, s.Looked = true, tt.looked
			if tt.known {
				d.Add(&sidecar.Lookup{Session: s.ID, Known: true, Addr: addr(f.peer), Port: 80})
			}
			if got := d.Question(&s); got != tt.want {
				t.Errorf("%s, %s: %d, want %d", f.name, tt.name, got, tt.want)
			}
		}
	}
}

// TestDestinationsMove moves the entry of a session to another worker.
func TestDestinationsMove(t *testing.T) {
	var a, b sidecar.Destinations
	if x := a.Remove(7); x != (sidecar.Destination{}) {
		t.Errorf("an empty table has %+v", x)
	}
	a.Add(&sidecar.Lookup{Session: 7, Known: true, Addr: addr("fd00::5"), Port: 80})
	if _, ok := a.Client(7); ok {
		t.Error("it has a client already")
	}
	a.Attribute(7, addr("fd00::2"))
	a.Attribute(9, addr("fd00::3"))
	b.Insert(7, a.Remove(7))
	b.Insert(8, sidecar.Destination{})
	if _, _, ok := a.Server(7); ok {
		t.Error("it is where it was")
	}
	server, port, ok := b.Server(7)
	client, mine := b.Client(7)
	if !ok || !mine || server != addr("fd00::5") || port != 80 || client != addr("fd00::2") {
		t.Errorf("moved: %v %d %t, %v %t", server.Netip(), port, ok, client.Netip(), mine)
	}
	if client, ok := a.Client(9); !ok || client != addr("fd00::3") {
		t.Error("another session is gone, too")
	}
	if _, ok := b.Client(8); ok {
		t.Error("a session of which nothing is known has a client")
	}
}

func TestTranslated(t *testing.T) {
	for _, f := range families {
		loop := map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"}[f.name]
		for _, tt := range []struct {
			client, server string
			want           bool
		}{
			{f.own, loop, true}, {f.source, loop, false}, {f.source, f.own, false}, {f.peer, f.own, false},
		} {
			s := between(tt.client, tt.server, packet.Egress, app.HTTP)
			if got := sidecar.Translated(&s.Key); got != tt.want {
				t.Errorf("%s to %s: %t, want %t", tt.client, tt.server, got, tt.want)
			}
		}
	}
}
