package session_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/session"
)

// TestTimersAgainstModel: random inserts, deletes, deadlines moved either way, keeps and leaps of the clock against a map: no session is called
// before its deadline, none later than a tick after it, and every one that is due is called.
func TestTimersAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	tab := session.New(session.Config{})
	due, live := map[uint64]int64{}, map[uint64]*session.Session{}
	now, id := start, uint64(0)
	expire := func() {
		for tab.Expire(now, 50, func(s *session.Session) int64 {
			if now < due[s.ID] {
				t.Fatalf("session %d is called %v before its time", s.ID, time.Duration(due[s.ID]-now))
			}
			if r.IntN(4) == 0 { // kept
				due[s.ID] = now + 1 + r.Int64N(int64(time.Hour))
				return due[s.ID]
			}
			delete(due, s.ID)
			delete(live, s.ID)
			return 0
		}) == 50 {
		}
		notLate(t, due, now)
	}
	for range 20000 {
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			k := key(int(id))
			s := tab.Insert(&k, now)
			id++
			s.ID = id
			due[id], live[id] = now+r.Int64N(1<<r.IntN(45)), s
			tab.Schedule(s, due[id])
		case 4, 5:
			for i, s := range live {
				due[i] = now + r.Int64N(1<<r.IntN(45))
				tab.Schedule(s, due[i])
				break
			}
		case 6:
			for i, s := range live {
				tab.Delete(s)
				delete(live, i)
				delete(due, i)
				break
			}
		default:
			now += r.Int64N(1 << r.IntN(40))
			expire()
		}
		if tab.Len() != len(live) {
			t.Fatalf("got %d sessions, want %d", tab.Len(), len(live))
		}
	}
	now += int64(1000 * time.Hour)
	for len(due) > 0 {
		expire()
		now += int64(2 * time.Hour)
	}
	if n := tab.Len(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// notLate checks that no session of due should have been called before now.
func notLate(t *testing.T, due map[uint64]int64, now int64) {
	t.Helper()
	for i, d := range due {
		if d+session.Tick < now {
			t.Fatalf("session %d is %v late", i, time.Duration(now-d))
		}
	}
}

// TestEvictionSparesTheLiving: random states in a full table: as long as one is over or half open, no live connection has to go.
func TestEvictionSparesTheLiving(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	states := []flow.Phase{flow.PhaseOpening, flow.PhaseEstablished, flow.PhaseMidStream, flow.PhaseClosed, flow.PhaseReset, flow.PhaseRefused}
	for round := range 30 {
		idle := map[uint64]bool{} // over or half open
		tab := session.New(session.Config{Max: 64, Evict: func(s *session.Session) {
			if len(idle) > 0 && !idle[s.ID] {
				t.Fatalf("round %d: a %s connection was evicted while %d others were over or half open", round, s.State, len(idle))
			}
			delete(idle, s.ID)
		}})
		for i := range 400 {
			k := key(i)
			s := tab.Insert(&k, start+int64(i)*1e6)
			if s == nil {
				if len(idle) > 0 {
					t.Fatalf("round %d: refused while %d sessions were over or half open", round, len(idle))
				}
				break
			}
			s.ID, s.State = uint64(i+1), states[r.IntN(len(states))]
			if s.State.Over() || s.State == flow.PhaseOpening {
				idle[s.ID] = true
			}
			tab.Schedule(s, s.Last+tab.Timeout(s))
			if tab.Len() > 64 {
				t.Fatalf("round %d: %d sessions in a table of 64", round, tab.Len())
			}
		}
	}
}

// TestWorkloadsAgainstModel: lists by workload hold just the workload's sessions after any order of inserts, deletes, exports and imports.
func TestWorkloadsAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(35, 36))
	tabs := [2]*session.Table{session.New(session.Config{}), session.New(session.Config{})}
	where := map[session.Key]int{} // in which table
	for step := range 6000 {
		k := key(r.IntN(300))
		k.Workload = uint32(r.IntN(4))
		at, ok := where[k]
		switch r.IntN(20) {
		case 0: // the workload moves to the other table
			from := r.IntN(2)
			export(tabs[from], k.Workload, func(s *session.Session) {
				if tabs[from^1].Import(*s) == nil {
					t.Fatalf("step %d: %+v is not taken", step, s.Key)
				}
				where[s.Key] = from ^ 1
			})
		case 1, 2, 3, 4, 5, 6:
			if ok {
				tabs[at].Delete(tabs[at].Lookup(&k))
				delete(where, k)
			}
		default:
			if !ok {
				n := r.IntN(2)
				tabs[n].Insert(&k, start)
				where[k] = n
			}
		}
		if step%200 != 0 {
			continue
		}
		for n, tab := range tabs {
			got := 0
			for workload := range uint32(4) {
				tab.EachOf(workload, func(s *session.Session) bool {
					got++
					if home, ok := where[s.Key]; !ok || home != n || s.Key.Workload != workload || tab.Lookup(&s.Key) != s {
						t.Fatalf("step %d: table %d lists %+v for workload %d", step, n, s.Key, workload)
					}
					return true
				})
			}
			if got != tab.Len() {
				t.Fatalf("step %d: table %d lists %d sessions of %d", step, n, got, tab.Len())
			}
		}
		if tabs[0].Len()+tabs[1].Len() != len(where) {
			t.Fatalf("step %d: %d and %d sessions, want %d", step, tabs[0].Len(), tabs[1].Len(), len(where))
		}
	}
}
