package hold_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/hold"
)

// TestCompare holds segments and compares another one with them, also where the numbers wrap.
func TestCompare(t *testing.T) {
	type seg struct {
		at   int
		text string
	}
	for _, tt := range []struct {
		name string
		held []seg
		next seg
		want hold.Match
	}{
		{"nothing is held", nil, seg{0, "abcd"}, hold.New},
		{"the next bytes", []seg{{0, "abcd"}}, seg{4, "efgh"}, hold.New},
		{"the same again", []seg{{0, "abcd"}}, seg{0, "abcd"}, hold.Known},
		{"a part again", []seg{{0, "abcd"}}, seg{1, "bc"}, hold.Known},
		{"two together", []seg{{0, "ab"}, {2, "cd"}}, seg{0, "abcd"}, hold.Known},
		{"two together, held in the other order", []seg{{2, "cd"}, {0, "ab"}}, seg{0, "abcd"}, hold.Known},
		{"two with a gap", []seg{{0, "ab"}, {3, "d"}}, seg{0, "abcd"}, hold.New},
		{"the same and more", []seg{{0, "abcd"}}, seg{0, "abcdef"}, hold.New},
		{"less and the same", []seg{{2, "cd"}}, seg{0, "abcd"}, hold.New},
		{"other bytes", []seg{{0, "abcd"}}, seg{0, "abXd"}, hold.Conflict},
		{"larger over smaller, other bytes", []seg{{4, "ef"}}, seg{2, "cdXfgh"}, hold.Conflict},
		{"one byte of the second", []seg{{0, "ab"}, {2, "cd"}}, seg{0, "abcX"}, hold.Conflict},
		{"the end overlaps", []seg{{4, "efgh"}}, seg{2, "cdeX"}, hold.Conflict},
		{"the beginning overlaps", []seg{{0, "abcd"}}, seg{3, "Xef"}, hold.Conflict},
		{"the beginning overlaps, the same", []seg{{0, "abcd"}}, seg{3, "def"}, hold.New},
	} {
		for _, begin := range []uint32{1000, 0xfffffffe} {
			var r hold.Room
			r.Begin(1, hold.Owner{})
			for _, s := range tt.held {
				at := begin + uint32(s.at)
				r.Put(1, frame("head"+s.text+"padding"), hold.Piece{Stream: true, Seq: at, End: at + uint32(len(s.text)), At: 4})
			}
			next := hold.Piece{Stream: true, Seq: begin + uint32(tt.next.at), At: 4}
			next.End = next.Seq + uint32(len(tt.next.text))
			if got := r.Compare(1, next, []byte(tt.next.text)); got != tt.want {
				t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
			}
			next.Dir = 1
			if got := r.Compare(1, next, []byte(tt.next.text)); got != hold.New {
				t.Errorf("%s, in the other direction: %d, want new", tt.name, got)
			}
		}
	}
}

// TestGap has a packet behind a gap: no answer covers it until it was read.
func TestGap(t *testing.T) {
	var r hold.Room
	r.Begin(1, hold.Owner{})
	r.Put(1, frame("first"), hold.Piece{Stream: true, Asked: 1, Seq: 0, End: 5})
	r.Put(1, frame("third"), hold.Piece{Stream: true, Asked: hold.Unread, Seq: 10, End: 15})
	r.Put(1, frame("fifth"), hold.Piece{Stream: true, Asked: hold.Unread, Seq: 20, End: 25})
	if got := texts(r.Take(1, 9)); len(got) != 1 || got[0] != "first" {
		t.Fatalf("%v, want what was read", got)
	}
	r.Read(1, 1, 99, 1)  // the other direction
	r.Read(1, 0, 15, 2)  // up to the third
	r.Read(77, 0, 15, 2) // a session without packets
	if got := texts(r.Take(1, 1)); len(got) != 0 {
		t.Fatalf("%v, want nothing: the answer is about less", got)
	}
	if got := texts(r.Take(1, 2)); len(got) != 1 || got[0] != "third" {
		t.Fatalf("%v, want what the answer is about", got)
	}
	if got := texts(r.TakeAll(1)); len(got) != 1 || got[0] != "fifth" {
		t.Fatalf("%v, want the rest", got)
	}
}

// TestSample keeps the beginning of a session's first frame until its number is used again.
func TestSample(t *testing.T) {
	var r hold.Room
	r.Begin(1, hold.Owner{})
	if r.Sample(1) != nil || r.Sample(9) != nil {
		t.Error("a sample of nothing")
	}
	long := frame(string(make([]byte, 1000)))
	r.SetSample(1, long)
	r.SetSample(1, frame("another"))
	if got := r.Sample(1); got == nil || len(got.Data) >= 1000 || got.Endpoint != 7 {
		t.Fatalf("got %+v", got)
	}
	r.Begin(1, hold.Owner{})
	if r.Sample(1) != nil {
		t.Error("the sample of an earlier session")
	}
}
