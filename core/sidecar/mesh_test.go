package sidecar_test

import (
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/sidecar"
)

const second = int64(1e9)

// ends of both families: the workload, a peer, and the sidecar's source.
var families = []struct{ name, own, peer, source, other string }{
	{"IPv4", "10.0.0.1", "10.0.0.2", "127.0.0.6", "10.0.0.9"},
	{"IPv6", "fd00::1", "fd00::2", "::6", "fd00::9"},
}

// between returns a session.
func between(client, server string, dir packet.Direction, a app.ID) sidecar.Session {
	v6 := netip.MustParseAddr(client).Is6()
	return sidecar.Session{
		Key: flow.Key{Client: addr(client), Server: addr(server), ClientPort: 40000, ServerPort: 8080, Proto: packet.ProtoTCP, IPv6: v6},
		ID:  7, At: sidecar.PlaceOf(addr(server), 8080, v6, dir), Dir: dir, Verdict: flow.Allow, Created: 100 * second,
		Carried: sidecar.Carried{App: a, Base: a, Strength: 3},
	}
}

// onLo returns a session on lo whose destination was looked up.
func onLo(s sidecar.Session) *sidecar.Session {
	s.Loopback, s.Looked = true, true
	return &s
}

// TestInside names an encrypted session by what was seen on lo, outwards and inwards.
func TestInside(t *testing.T) {
	for _, f := range families {
		for _, dir := range []packet.Direction{packet.Egress, packet.Ingress} {
			client, server, from := f.own, f.peer, f.own
			if dir == packet.Ingress {
				client, server, from = f.peer, f.own, f.source
			}
			m := sidecar.NewMesh()
			outside := between(client, server, dir, app.TLS)
			if _, ok := m.Inside(&outside); ok {
				t.Fatalf("%s %v: something is known before anything was seen", f.name, dir)
			}
			m.Observe(onLo(between(from, server, dir, app.Redis)), 0)
			got, ok := m.Inside(&outside)
			if want := (sidecar.Carried{App: app.Redis, Base: app.TLS, Strength: 3}); !ok || got != want {
				t.Errorf("%s %v: %+v %t, want %+v", f.name, dir, got, ok, want)
			}
			elsewhere := between(client, server, dir, app.TLS)
			elsewhere.At.Port++
			for name, s := range map[string]*sidecar.Session{"at another port": &elsewhere, "on lo": onLo(outside),
				"in the clear": ptr(between(client, server, dir, app.HTTP)), "in the other direction": ptr(between(server, client, dir.Reverse(), app.TLS))} {
				if _, ok := m.Inside(s); ok {
					t.Errorf("%s %v: %s, it has the name, too", f.name, dir, name)
				}
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }

// TestWhatLoDoesNotShow has sessions on lo that show no application.
func TestWhatLoDoesNotShow(t *testing.T) {
	outside := between("10.0.0.1", "10.0.0.2", packet.Egress, app.TLS)
	for name, edit := range map[string]func(*sidecar.Session){
		"undecided":             func(s *sidecar.Session) { s.App = app.Undecided },
		"unknown":               func(s *sidecar.Session) { s.App = app.Unknown },
		"none":                  func(s *sidecar.Session) { s.App = app.None },
		"destination unsettled": func(s *sidecar.Session) { s.Looked = false },
		"not decided":           func(s *sidecar.Session) { s.Verdict = flow.Pending },
		"refused":               func(s *sidecar.Session) { s.Verdict = flow.Deny },
	} {
		m := sidecar.NewMesh()
		s := between("10.0.0.1", "10.0.0.2", packet.Egress, app.HTTP)
		s.Loopback, s.Looked = true, true
		edit(&s)
		m.Observe(&s, 0)
		if _, ok := m.Inside(&outside); ok {
			t.Errorf("%s: it names the session outside", name)
		}
	}
}

func TestAwaits(t *testing.T) {
	m := sidecar.NewMesh()
	base := between("fd00::2", "fd00::1", packet.Ingress, app.TLS)
	for _, tt := range []struct {
		name string
		m    *sidecar.Mesh
		edit func(*sidecar.Session)
		age  int64
		want bool
	}{
		{"fresh", m, nil, second, true},
		{"old", m, nil, 2 * second, false},
		{"no sidecar", nil, nil, second, false},
		{"on lo", m, func(s *sidecar.Session) { s.Loopback = true }, second, false},
		{"in the clear", m, func(s *sidecar.Session) { s.App = app.HTTP }, second, false},
		{"refused", m, func(s *sidecar.Session) { s.Verdict = flow.Deny }, second, false},
		{"ended", m, func(s *sidecar.Session) { s.Over = true }, second, false},
	} {
		s := base
		if tt.edit != nil {
			tt.edit(&s)
		}
		if got := tt.m.Awaits(&s, s.Created+tt.age); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestFollowsRefusal has a connection refused on lo, and the one its sidecar opened for it.
func TestFollowsRefusal(t *testing.T) {
	for _, f := range families {
		m := sidecar.NewMesh()
		refused := onLo(between(f.own, f.peer, packet.Egress, app.Redis))
		refused.Verdict = flow.Deny
		now := 100 * second
		m.Observe(refused, now)
		base := between(f.own, f.peer, packet.Egress, app.None)
		for _, tt := range []struct {
			name string
			edit func(*sidecar.Session)
			now  int64
			want bool
		}{
			{"nothing was sent", nil, now + 4*second, true},
			{"not identified", func(s *sidecar.Session) { s.App = app.Undecided }, now, true},
			{"later", nil, now + 5*second, false},
			{"it carried something", func(s *sidecar.Session) { s.App = app.TLS }, now, false},
			{"it is being identified", func(s *sidecar.Session) { s.App, s.Undecided = app.Undecided, true }, now, false},
			{"it was reported", func(s *sidecar.Session) { s.Reported = true }, now, false},
			{"on lo", func(s *sidecar.Session) { s.Loopback = true }, now, false},
			{"inwards", func(s *sidecar.Session) { s.Dir = packet.Ingress }, now, false},
			{"to another place", func(s *sidecar.Session) { s.At.Addr = addr(f.other) }, now, false},
		} {
			s := base
			if tt.edit != nil {
				tt.edit(&s)
			}
			if got := m.FollowsRefusal(&s, tt.now); got != tt.want {
				t.Errorf("%s, %s: %t, want %t", f.name, tt.name, got, tt.want)
			}
		}
		if _, ok := m.Inside(ptr(between(f.own, f.peer, packet.Egress, app.TLS))); ok {
			t.Errorf("%s: what was refused names what is outside", f.name)
		}
	}
}

func TestOpaque(t *testing.T) {
	m := sidecar.NewMesh()
	s := between("10.0.0.2", "10.0.0.1", packet.Ingress, app.TLS)
	plain := s
	plain.App = app.HTTP
	for _, tt := range []struct {
		name string
		m    *sidecar.Mesh
		s    *sidecar.Session
		by   flow.Reason
		want bool
	}{
		{"no rule names TLS", m, &s, flow.ByDefault, true},
		{"a rule names it", m, &s, flow.ByRule, false},
		{"in the clear", m, &plain, flow.ByDefault, false},
		{"on lo", m, onLo(s), flow.ByDefault, false},
		{"no sidecar", nil, &s, flow.ByDefault, false},
	} {
		if got := tt.m.Opaque(tt.s, tt.by); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestClients checks the clients of a port: newest first, each once, and bounded. Denied ones
// displace none.
func TestClients(t *testing.T) {
	for _, f := range families {
		m := sidecar.NewMesh()
		delivered := onLo(between(f.source, f.own, packet.Ingress, app.HTTP))
		if c := m.Clients(delivered); len(c.All()) != 0 {
			t.Fatalf("%s: %d clients before any came", f.name, len(c.All()))
		}
		who := netip.MustParseAddr(f.peer)
		var came []packet.Addr
		for range sidecar.MaxClients + 3 {
			s := between(who.String(), f.own, packet.Ingress, app.HTTP)
			s.Base = app.TLS // it was named by lo already
			m.Observe(&s, 0)
			m.Observe(&s, 0)
			came, who = append(came, s.Client), who.Next()
		}
		m.Observe(ptr(between(f.other, f.own, packet.Ingress, app.Redis)), 0) // in the clear
		for range sidecar.MaxClients {
			s := between(who.String(), f.own, packet.Ingress, app.TLS)
			s.Verdict = flow.Deny
			m.Observe(&s, 0)
			who = who.Next()
		}
		c := m.Clients(delivered)
		if len(c.All()) != sidecar.MaxClients {
			t.Fatalf("%s: %d clients, want %d", f.name, len(c.All()), sidecar.MaxClients)
		}
		for i, a := range c.All() {
			if want := came[len(came)-1-i]; a != want {
				t.Errorf("%s: client %d is %v, want %v", f.name, i, a.Netip(), want.Netip())
			}
		}
		delivered.App = app.None
		if c := m.Clients(delivered); len(c.All()) != 0 {
			t.Errorf("%s: what carries nothing has clients", f.name)
		}
	}
	var none *sidecar.Mesh
	none.Observe(onLo(between("10.0.0.1", "10.0.0.2", packet.Egress, app.HTTP)), 0)
	if c := none.Clients(onLo(between("127.0.0.6", "10.0.0.1", packet.Ingress, app.HTTP))); len(c.All()) != 0 {
		t.Error("a workload without sidecar has clients")
	}
}

func TestVouches(t *testing.T) {
	for v, want := range map[flow.Verdict]bool{flow.Allow: true, flow.Learn: true, flow.Open: true, flow.Violate: false, flow.Deny: false, flow.Pending: false} {
		if got := sidecar.Vouches(v); got != want {
			t.Errorf("%v: %t, want %t", v, got, want)
		}
	}
}

// TestPlacesAreBounded fills the tables: new places are known, and old ones are not all gone.
func TestPlacesAreBounded(t *testing.T) {
	const places = 4096
	m := sidecar.NewMesh()
	at := func(i int) sidecar.Session {
		s := between("10.0.0.1", "10.0.0.2", packet.Egress, app.HTTP)
		s.At.Addr, s.At.Port = packet.AddrFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})), uint16(i)
		return s
	}
	known := func(n int) (got int) {
		for i := range n {
			s := at(i)
			s.App = app.TLS
			if _, ok := m.Inside(&s); ok {
				got++
			}
		}
		return got
	}
	for i := range places {
		m.Observe(onLo(at(i)), 0)
	}
	for i := range places {
		m.Observe(onLo(at(i)), 0) // nothing new
	}
	if got := known(places); got != places {
		t.Fatalf("%d of %d places are known", got, places)
	}
	const more = 100
	for i := range more {
		m.Observe(onLo(at(places+i)), 0)
		s := at(places + i)
		s.App = app.TLS
		if _, ok := m.Inside(&s); !ok {
			t.Fatalf("place %d is not known", places+i)
		}
	}
	if got := known(places + more); got != places {
		t.Errorf("%d places are known, want %d", got, places)
	}
}

// TestMeshIsShared uses a mesh from several goroutines, for the race detector.
func TestMeshIsShared(t *testing.T) {
	m := sidecar.NewMesh()
	done := make(chan struct{})
	for i := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := range 200 {
				lo := onLo(between("127.0.0.6", "10.0.0.1", packet.Ingress, app.HTTP))
				out := between("10.0.0.2", "10.0.0.1", packet.Ingress, app.TLS)
				lo.At.Port, out.At.Port = uint16(n), uint16(n)
				if i == 0 {
					lo.Verdict = flow.Deny
				}
				m.Observe(lo, int64(n))
				m.Observe(&out, int64(n))
				m.Inside(&out)
				m.Clients(lo)
				m.FollowsRefusal(ptr(between("10.0.0.1", "10.0.0.2", packet.Egress, app.None)), int64(n))
			}
		}()
	}
	for range 4 {
		<-done
	}
}

func TestQuestionsDoNotAllocate(t *testing.T) {
	m := sidecar.NewMesh()
	lo, out := onLo(between("127.0.0.6", "10.0.0.1", packet.Ingress, app.HTTP)), between("10.0.0.2", "10.0.0.1", packet.Ingress, app.TLS)
	m.Observe(lo, 0)
	m.Observe(&out, 0)
	if n := testing.AllocsPerRun(100, func() {
		m.Observe(lo, 0)
		m.Observe(&out, 0)
		m.Inside(&out)
		m.Awaits(&out, 0)
		c := m.Clients(lo)
		_ = c.All()
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
