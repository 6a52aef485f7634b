package wire

import (
	"encoding/binary"
	"testing"
)

// rule makes one rule of an old table: a target with what it has of its own.
func rule(f *xtFamily, target string, info []byte) []byte {
	b := make([]byte, f.header+xtTargetHead+len(info))
	binary.NativeEndian.PutUint16(b[f.targetAt:], uint16(f.header))
	binary.NativeEndian.PutUint16(b[f.targetAt+2:], uint16(len(b)))
	binary.NativeEndian.PutUint16(b[f.header:], uint16(xtTargetHead+len(info)))
	copy(b[f.header+2:], target)
	copy(b[f.header+xtTargetHead:], info)
	return b
}

func verdict(v int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(int32(v))) }

// FuzzXT reads rules that may be anything.
func FuzzXT(f *testing.F) {
	for i := range xtFamilies {
		fam := &xtFamilies[i].xtFamily
		loop := append(rule(fam, "", verdict(0)), rule(fam, "REDIRECT", make([]byte, 16))...)
		f.Add(loop, 0, fam.ipv6)
		f.Add(append(rule(fam, "", verdict(-1)), rule(fam, "DNAT", make([]byte, 40))...), 0, fam.ipv6)
		f.Add(rule(fam, "ERROR", make([]byte, 32)), 1<<20, fam.ipv6)
	}
	f.Fuzz(func(_ *testing.T, rules []byte, from int, ipv6 bool) {
		fam := &xtFamilies[0].xtFamily
		if ipv6 {
			fam = &xtFamilies[1].xtFamily
		}
		xtReaches(rules, from, fam)
		parseXTInfo(rules)
	})
}

func TestXTReaches(t *testing.T) {
	fam := &xtFamilies[0].xtFamily
	redirect, end, policy := rule(fam, "REDIRECT", make([]byte, 16)), rule(fam, "ERROR", make([]byte, 32)), rule(fam, "", verdict(-2))
	at := len(policy) + len(end)
	for _, tt := range []struct {
		name  string
		rules [][]byte
		want  bool
	}{
		{"at once", [][]byte{redirect}, true},
		{"behind a policy", [][]byte{policy, redirect}, false},
		{"by a jump", [][]byte{rule(fam, "", verdict(len(rule(fam, "", verdict(0)))+at)), policy, end, redirect}, true},
		{"a jump to itself", [][]byte{rule(fam, "", verdict(0)), redirect}, true},
		{"a jump past the end", [][]byte{rule(fam, "", verdict(1<<30)), policy}, false},
		{"cut short", [][]byte{redirect[:100]}, false},
	} {
		var all []byte
		for _, r := range tt.rules {
			all = append(all, r...)
		}
		if got := xtReaches(all, 0, fam); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
