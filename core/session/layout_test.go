package session

import (
	"reflect"
	"testing"
	"unsafe"
)

func TestKeyLayout(t *testing.T) {
	at := uintptr(0)
	for i, typ := 0, reflect.TypeFor[Key](); i < typ.NumField(); i++ {
		f := typ.Field(i)
		if f.Offset != at {
			t.Errorf("%s: got offset %d, want %d: padding would be hashed", f.Name, f.Offset, at)
		}
		at += f.Type.Size()
	}
	if at != keyBytes {
		t.Errorf("bytes of a key: got %d, want %d", at, keyBytes)
	}
}

func TestSessionLayout(t *testing.T) {
	if got := unsafe.Sizeof(Session{}); got > 248 {
		t.Errorf("size of a session: got %d, want at most 248", got)
	}
	if name := pointerIn(reflect.TypeFor[chunk](), "chunk"); name != "" {
		t.Errorf("pointer in a chunk: %s", name)
	}
}

// pointerIn returns the name of the first field that the garbage collector would have to
// follow.
func pointerIn(t reflect.Type, name string) string {
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return ""
	case reflect.Array:
		return pointerIn(t.Elem(), name)
	case reflect.Struct:
		for i := range t.NumField() {
			if bad := pointerIn(t.Field(i).Type, name+"."+t.Field(i).Name); bad != "" {
				return bad
			}
		}
		return ""
	}
	return name
}

// check verifies the table's invariants: index, wheel and lists hold the same sessions.
func (t *Table) check(tb testing.TB) {
	tb.Helper()
	inWheel, inList, slotsUsed := 0, 0, 0
	for slot, ref := range t.wheel.heads {
		if used := t.wheel.used[slot>>slotBits]>>(slot&(slots-1))&1 == 1; used != (ref != 0) {
			tb.Fatalf("wheel slot %d: bit %v, head %d", slot, used, ref)
		}
		for prev := uint32(0); ref != 0; inWheel++ {
			s := t.store.at(ref)
			if s.ref != ref || s.prev != prev || int(s.slot) != slot {
				tb.Fatalf("wheel slot %d: session %d is corrupt", slot, ref)
			}
			prev, ref = ref, s.next
		}
	}
	for ep, l := range t.lists {
		n, last := 0, uint32(0)
		for ref := l.head; ref != 0; n++ {
			s := t.store.at(ref)
			if s.Key.Workload != ep || s.ownPrev != last {
				tb.Fatalf("list of workload %d: one of %d after %d, want after %d", ep, s.Key.Workload, s.ownPrev, last)
			}
			last, ref = ref, s.ownNext
		}
		if n != l.n || last != l.tail {
			tb.Fatalf("list of workload %d: %d sessions, the last %d; recorded %d and %d", ep, n, last, l.n, l.tail)
		}
		inList += n
	}
	seen := map[*segment]bool{}
	for i, g := range t.index.dir {
		if i>>(t.index.depth-g.depth) != i && seen[g] {
			continue
		}
		if !seen[g] {
			slotsUsed += g.n
		}
		seen[g] = true
	}
	if len(seen) != t.index.segs || slotsUsed != t.n || inWheel != t.n || inList != t.n {
		tb.Fatalf("sessions: %d; wheel %d, lists %d, slots %d in %d segments of %d", t.n, inWheel, inList, slotsUsed, len(seen), t.index.segs)
	}
}

func TestTableAgainstMap(t *testing.T) {
	rng := uint64(1)
	next := func(n int) int {
		rng = rng*6364136223846793005 + 1442695040888963407
		return int(rng>>33) % n
	}
	tab := New(Config{Max: 1 << 16})
	model := map[Key]uint64{}
	keys := make([]Key, 40000)
	for i := range keys {
		keys[i] = Key{APort: uint16(i), BPort: uint16(i >> 3), Workload: uint32(i % 5), Proto: 17}
	}
	for round, share := range []int{90, 50, 10, 95, 3, 50} { // of a hundred steps, those that insert
		for range 40000 {
			k := &keys[next(len(keys))]
			s := tab.Lookup(k)
			id, ok := model[*k]
			if (s != nil) != ok || ok && (s.ID != id || s.Key != *k || tab.At(tab.Ref(s)) != s) {
				t.Fatalf("round %d: look-up of %v: got %v, want %v", round, k, s, ok)
			}
			switch insert := next(100) < share; {
			case insert && !ok:
				s = tab.Insert(k, int64(round))
				s.ID = rng
				model[*k] = rng
			case !insert && ok:
				ref := tab.Ref(s)
				tab.Delete(s)
				delete(model, *k)
				if tab.At(ref) != nil {
					t.Fatalf("round %d: the ref of a deleted session returned it", round)
				}
			}
		}
		tab.check(t)
	}
	n := 0
	tab.Each(func(s *Session) bool {
		if n++; model[s.Key] != s.ID {
			t.Errorf("Each called with %v", s.Key)
		}
		tab.Delete(s)
		return true
	})
	if n != len(model) || tab.Len() != 0 {
		t.Errorf("Each called with %d of %d, %d are left", n, len(model), tab.Len())
	}
	tab.check(t)
	if tab.store.live > 1 {
		t.Errorf("chunks of an empty table: got %d, want at most 1", tab.store.live)
	}
}
