package policy_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/policy"
)

// FuzzCompile compiles arbitrary specs: each is rejected or compiled, and then every workload
// decides as Explain does.
func FuzzCompile(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		b, err := json.Marshal(randomSpec(r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, r.Uint64())
	}
	f.Add([]byte(`{"rules":[{"id":1,"from":4,"to":0}]}`), uint64(1))
	f.Add([]byte(`{"workloads":[{"id":"a"}]}`), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		var s policy.Spec
		if json.Unmarshal(b, &s) != nil {
			return
		}
		table, err := policy.Compile(&s)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an empty error message")
			}
			return
		}
		r := rand.New(rand.NewPCG(seed, seed))
		for _, ws := range s.Workloads {
			w := table.Workload(ws.ID)
			for range 20 {
				q := randomQuery(r)
				got := w.Decide(&q)
				if _, want := w.Explain(&q); got != want {
					t.Fatalf("%+v: got %+v, Explain says %+v", q, got, want)
				}
			}
		}
	})
}
