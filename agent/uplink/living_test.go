package uplink_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/vocab"
)

// lifeOf runs an agent's life that sees these records; it returns how many sessions it reported as begun.
func lifeOf(t *testing.T, file string, leave bool, records_ ...flow.Record) uint64 {
	t.Helper()
	began, _, _ := runOf(t, file, leave, records_...).sums()
	return began
}

// runOf is lifeOf that returns the collector. With leave, it leaves before the last record.
func runOf(t *testing.T, file string, leave bool, records_ ...flow.Record) *collector {
	t.Helper()
	c, r := &collector{}, &records{}
	u := uplink.New(uplink.Config{Records: r, Collector: c.serve(t), Node: "n", Run: "b", Living: file, Interval: time.Millisecond, Workload: func(uint32) string { return "w" }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	u.Open() // Leave looks at what it opens
	go func() { defer close(done); u.Run(ctx) }()
	for i, f := range records_ {
		if leave && i == len(records_)-1 {
			u.Leave() // before the end, which may come in one tick with the beginning
		}
		r.put(f)
		time.Sleep(3 * time.Millisecond) // most come in different ticks; the outcome is the same
	}
	cancel()
	<-done
	return c
}

// TestLiving has sessions that continue while the agent is exchanged: only what is new is counted.
func TestLiving(t *testing.T) {
	udp := func(f *flow.Record) { f.Proto, f.ClientPort = 17, 777 }
	mid := func(f *flow.Record) { f.Midstream = true }
	turned := func(f *flow.Record) {
		f.Midstream, f.Dir = true, packet.Ingress
		f.Client, f.Server, f.ClientPort, f.ServerPort = f.Server, f.Client, f.ServerPort, f.ClientPort
	}
	start := func(edit func(*flow.Record)) []flow.Record { return []flow.Record{record(1, flow.Start, edit)} }
	cases := []struct {
		name          string
		first, second []flow.Record
		leave         bool // the first life ends as it is asked to
		want          uint64
	}{
		{"continues", start(nil), start(mid), false, 0},
		{"continues, client and server mistaken", start(nil), start(turned), false, 0},
		{"continues and is reported late", start(undecided), start(mid), false, 0},
		{"continues and ends at once", start(nil), []flow.Record{record(1, flow.Start, mid), record(1, flow.End, mid)}, false, 0},
		{"datagrams continue", start(udp), start(udp), false, 0},
		{"ended before", []flow.Record{record(1, flow.Start, nil), record(1, flow.End, nil)}, start(mid), false, 1},
		{"let go at the end", []flow.Record{record(1, flow.Start, nil), record(1, flow.End, nil)}, start(mid), true, 0},
		{"a new one from the same port", start(nil), start(nil), false, 1},
		{"another one", start(nil), []flow.Record{record(2, flow.Start, mid)}, false, 1},
		{"pings", start(func(f *flow.Record) { f.Proto = 1 }), start(func(f *flow.Record) { f.Proto = 1 }), false, 1},
		{"twice over", start(nil), []flow.Record{record(1, flow.Start, mid), record(1, flow.End, mid), record(7, flow.Start, func(f *flow.Record) { f.Midstream, f.ClientPort = true, 30001 })}, false, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sessions")
			if got := lifeOf(t, file, c.leave, c.first...); got != 1 {
				t.Fatalf("first life: %d began, want 1", got)
			}
			if got := lifeOf(t, file, false, c.second...); got != c.want {
				t.Errorf("second life: %d began, want %d", got, c.want)
			}
		})
	}
}

// TestReleased: what is open when the agent releases its workloads has not ended, and the next run
// reports that it continues. What ended by itself has.
func TestReleased(t *testing.T) {
	over := func(f *flow.Record) { f.Phase, f.Outcome = flow.PhaseClosed, flow.OutcomeClosed }
	closed := became(flow.OutcomeClosed)
	mid := func(f *flow.Record) { f.Midstream = true }
	udp := func(f *flow.Record) { f.Proto = 17 }
	ping := func(f *flow.Record) { f.Proto, f.Outcome = 1, flow.OutcomeClosed }
	for _, tt := range []struct {
		name             string
		start, end, next func(*flow.Record)
		ended, continued uint64
		last             string // outcome of the first run
	}{
		{"open", nil, closed, mid, 0, 1, "established"},
		{"closed", nil, over, mid, 1, 0, "closed"},
		{"datagrams", udp, func(f *flow.Record) { f.Proto, f.Outcome = 17, flow.OutcomeClosed }, udp, 0, 1, "established"},
		{"datagrams without answer", func(f *flow.Record) { f.Proto, f.Outcome = 17, flow.OutcomeOpening },
			func(f *flow.Record) { f.Proto, f.Outcome = 17, flow.OutcomeUnanswered }, udp, 0, 1, "opening"},
		{"pings", ping, ping, ping, 1, 0, "closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sessions")
			first := runOf(t, file, true, record(1, flow.Start, tt.start), record(1, flow.End, tt.end))
			began, ended, _ := first.sums()
			if last := vocab.Text(first.conns[len(first.conns)-1].Outcome); began != 1 || ended != tt.ended || last != tt.last {
				t.Errorf("released: %d began, %d ended, %s; want 1, %d, %s", began, ended, last, tt.ended, tt.last)
			}
			var continued uint64
			for _, c := range runOf(t, file, false, record(1, flow.Start, tt.next)).conns {
				continued += c.Continued
			}
			if continued != tt.continued {
				t.Errorf("next run: %d continued, want %d", continued, tt.continued)
			}
		})
	}
}

// TestLivingLong exchanges the agent more than once while one session continues, and cuts the file as
// a kill in the middle of a write would.
func TestLivingLong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sessions")
	mid := func(f *flow.Record) { f.Midstream = true }
	if got := lifeOf(t, file, false, record(1, flow.Start, nil)); got != 1 {
		t.Fatalf("first life: %d began, want 1", got)
	}
	for range 3 {
		if got := lifeOf(t, file, false); got != 0 { // it sees nothing of it
			t.Errorf("an idle life: %d began, want none", got)
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("+abc")); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if got := lifeOf(t, file, false, record(1, flow.Start, mid)); got != 0 {
			t.Errorf("a life that sees it: %d began, want none", got)
		}
	}
	if err := os.WriteFile(file, []byte("not ours, but long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lifeOf(t, file, false, record(1, flow.Start, mid)); got != 1 {
		t.Errorf("after the file was damaged: %d began, want 1", got)
	}
}

// sidesAfter runs an agent's life that sees these records, and gives what the next one knows of sides.
func sidesAfter(t *testing.T, file string, records ...flow.Record) *role.Memory {
	t.Helper()
	lifeOf(t, file, false, records...)
	u := uplink.New(uplink.Config{Living: file, Workload: func(uint32) string { return "w" }})
	return u.Sides()
}

// TestSides: which end of a session is the client is known after a restart, where it was known before.
func TestSides(t *testing.T) {
	by := func(e flow.Evidence) func(*flow.Record) { return func(f *flow.Record) { f.Evidence = e } }
	turned := func(f *flow.Record) {
		f.Client, f.Server, f.ClientPort, f.ServerPort = f.Server, f.Client, f.ServerPort, f.ClientPort
	}
	known := by(flow.EvidenceHandshake)
	for _, c := range []struct {
		name    string
		records []flow.Record
		want    string // who is the client: "", "client" or "server" of the first record
	}{
		{"seen from its beginning", []flow.Record{record(1, flow.Start, known)}, "client"},
		{"the other way round", []flow.Record{record(1, flow.Start, func(f *flow.Record) { known(f); turned(f) })}, "server"},
		{"guessed", []flow.Record{record(1, flow.Start, by(flow.EvidencePort))}, ""},
		{"guessed, then known", []flow.Record{record(1, flow.Start, by(flow.EvidencePort)), record(1, flow.Update, by(flow.EvidenceProtocol))}, "client"},
		{"guessed, then known to be the other", []flow.Record{record(1, flow.Start, by(flow.EvidencePort)), record(1, flow.Update, func(f *flow.Record) { f.Evidence = flow.EvidenceListener; turned(f) })}, "server"},
		{"ended", []flow.Record{record(1, flow.Start, known), record(1, flow.End, known)}, ""},
		{"remembered again", []flow.Record{record(1, flow.Start, func(f *flow.Record) { f.Midstream, f.Evidence = true, flow.EvidenceMemory })}, "client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := record(1, flow.Start, nil)
			h, lower := role.SeedOf("w").Hash(&role.Tuple{Local: f.Client, Remote: f.Server, LocalPort: f.ClientPort, RemotePort: f.ServerPort, Proto: f.Proto})
			m := sidesAfter(t, filepath.Join(t.TempDir(), "sessions"), c.records...)
			client, ok := m.LowerIsClient[h]
			got := ""
			if ok {
				got = map[bool]string{true: "client", false: "server"}[client == lower]
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if until := time.Until(time.Unix(0, m.Until)); until < 2*time.Hour || until > 4*time.Hour {
				t.Errorf("it is remembered for %s", until)
			}
		})
	}
}

// TestSidesAreOnDisk: what the file had when the agent was killed is enough, also where the last entry is cut,
// and a file of the version before is read, which had no sides.
func TestSidesAreOnDisk(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sessions")
	if m := sidesAfter(t, file, record(1, flow.Start, func(f *flow.Record) { f.Evidence = flow.EvidenceHandshake })); len(m.LowerIsClient) != 1 {
		t.Fatalf("sides %v, want one", m.LowerIsClient)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const head, entry = "sluice sessions 3\n", 11
	for cut := range len(data) + 1 {
		if err := os.WriteFile(file, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want := 0
		if cut >= len(head)+entry {
			want = 1
		}
		u := uplink.New(uplink.Config{Living: file, Workload: func(uint32) string { return "w" }})
		if m := u.Sides(); m == nil || len(m.LowerIsClient) != want {
			t.Errorf("cut at %d of %d: sides %v, want %d", cut, len(data), m, want)
		}
	}
	two := append([]byte("sluice sessions 2\n"), data[len(head):len(head)+9]...)
	if err := os.WriteFile(file, two, 0o600); err != nil {
		t.Fatal(err)
	}
	if m := sidesAfter(t, file); len(m.LowerIsClient) != 1 || len(m.Apps) != 0 {
		t.Errorf("a file without applications has %v", m)
	}
	old := append([]byte{'+'}, data[len(head)+1:len(head)+9]...)
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if m := sidesAfter(t, file); len(m.LowerIsClient) != 0 {
		t.Errorf("a file without sides has %v", m.LowerIsClient)
	}
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lifeOf(t, file, false, record(1, flow.Start, func(f *flow.Record) { f.Midstream = true })); got != 0 {
		t.Errorf("a session of the version before is counted again: %d began", got)
	}
}

// TestApplications: which application a conversation has is known after a restart, and after several.
func TestApplications(t *testing.T) {
	is := func(a app.ID, also ...func(*flow.Record)) func(*flow.Record) {
		return func(f *flow.Record) {
			f.Proto, f.App = packet.ProtoUDP, uint16(a)
			for _, fn := range also {
				fn(f)
			}
		}
	}
	mid := func(f *flow.Record) { f.Midstream = true }
	lost := func(f *flow.Record) { f.Reason = flow.ByUnidentified }
	stream := func(f *flow.Record) { f.Proto = packet.ProtoTCP }
	for _, c := range []struct {
		name string
		runs [][]flow.Record
		want app.ID
	}{
		{"named", [][]flow.Record{{record(1, flow.Start, is(app.DNS))}}, app.DNS},
		{"named later", [][]flow.Record{{record(1, flow.Start, is(app.Undecided)), record(1, flow.Update, is(app.DNS))}}, app.DNS},
		{"not named yet", [][]flow.Record{{record(1, flow.Start, is(app.Undecided))}}, app.Undecided},
		{"without a name", [][]flow.Record{{record(1, flow.Start, is(app.Unknown))}}, app.None},
		{"without a name in mid-stream", [][]flow.Record{{record(1, flow.Start, is(app.Unknown, mid))}}, app.Undecided},
		{"without its parser", [][]flow.Record{{record(1, flow.Start, is(app.Unknown, lost))}}, app.Undecided},
		{"of a plugin", [][]flow.Record{{record(1, flow.Start, is(app.FirstPlugin+7))}}, app.FirstPlugin + 7},
		{"a connection", [][]flow.Record{{record(1, flow.Start, is(app.DNS, stream))}}, app.Undecided},
		{"ended", [][]flow.Record{{record(1, flow.Start, is(app.DNS)), record(1, flow.End, is(app.DNS))}}, app.Undecided},
		{"silent for a run", [][]flow.Record{{record(1, flow.Start, is(app.DNS))}, {}}, app.DNS},
		{"without a name in the second run", [][]flow.Record{{record(1, flow.Start, is(app.DNS))}, {record(1, flow.Start, is(app.Undecided, mid)), record(1, flow.Update, is(app.Unknown, mid))}}, app.DNS},
		{"refused in the second run, too", [][]flow.Record{{record(1, flow.Start, is(app.Unknown))}, {record(1, flow.Start, is(app.Unknown, mid))}}, app.None},
		{"another in the second run", [][]flow.Record{{record(1, flow.Start, is(app.DNS))}, {record(1, flow.Start, is(app.NTP, mid))}}, app.NTP},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sessions")
			for _, records := range c.runs {
				lifeOf(t, file, false, records...)
			}
			f := c.runs[0][0]
			m := sidesAfter(t, file)
			if got := m.App(role.SeedOf("w"), &role.Tuple{Local: f.Client, Remote: f.Server, LocalPort: f.ClientPort, RemotePort: f.ServerPort, Proto: packet.ProtoUDP}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// FuzzLiving: whatever is in the file, the agent starts, and its memory is bounded by the file.
func FuzzLiving(f *testing.F) {
	f.Add([]byte("sluice sessions 2\n<12345678>abcdefgh-12345678"))
	f.Add([]byte("sluice sessions 3\n<12345678\x03\xec>abcdefgh\xff\xff-12345678\xff\xff"))
	f.Add([]byte("+12345678"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "sessions")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		u := uplink.New(uplink.Config{Living: file, Workload: func(uint32) string { return "w" }})
		if m := u.Sides(); m == nil || len(m.LowerIsClient) > len(data)/9 {
			t.Errorf("sides %v of %q", m, data)
		}
	})
}
