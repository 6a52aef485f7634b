package app_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
)

func TestGive(t *testing.T) {
	id := app.Suggest("given-test", 0)
	if again := app.Suggest("given-test", 0); again != id || id < app.FirstPlugin {
		t.Fatalf("numbers %d and %d: want the same, from %d on", id, again, app.FirstPlugin)
	}
	if got := id.Name(); got == "given-test" {
		t.Fatalf("name %q before it was assigned", got)
	}
	for range 2 {
		if err := app.Give("given-test", id); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := app.Parse("Given-Test"); err != nil || got != id || got.Name() != "given-test" || got.Base() != id {
		t.Errorf("parsed as %d %q (%v), want %d", got, got.Name(), err, id)
	}
	bad := []struct {
		name string
		id   app.ID
	}{
		{"given-test", app.Suggest("given-test", 1)}, {"given-other", id}, {"http", app.FirstPlugin}, {"low", 5}, {"", app.FirstPlugin}, {"none", app.FirstPlugin}, {"Upper", app.FirstPlugin}, {"1st", app.FirstPlugin},
	}
	for _, b := range bad {
		if err := app.Give(b.name, b.id); err == nil {
			t.Errorf("%q with %d was accepted", b.name, b.id)
		}
	}
}
