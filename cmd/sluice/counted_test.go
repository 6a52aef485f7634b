package main

import "testing"

func TestCounted(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 rules", 1: "1 rule", 2: "2 rules"} {
		if got := counted(n, "rule"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
