package server

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/store/embedded"
)

// BenchmarkSave stores the largest graph that is kept.
func BenchmarkSave(b *testing.B) {
	st, err := embedded.Open(filepath.Join(b.TempDir(), embedded.FileName), embedded.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	s, err := Open(b.Context(), Config{Store: st})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 50_000 {
		s.graph.Add(&graph.Observation{Egress: true, Leads: true, Sessions: 1, Kind: graph.Kind{From: "svc:default/web", To: "svc:default/api",
			FromWorkload: fmt.Sprint("web-", i%100), ToWorkload: fmt.Sprint("api-", i/100), Port: 80}})
	}
	for b.Loop() {
		s.unsaved = true
		if err := s.save(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
