package app_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
)

func TestListIsSound(t *testing.T) {
	ids, names := map[app.ID]string{}, map[string]bool{}
	for _, i := range app.All() {
		if ids[i.ID] != "" || names[i.Name] {
			t.Errorf("%d %s is listed twice", i.ID, i.Name)
		}
		ids[i.ID], names[i.Name] = i.Name, true
		if i.ID >= app.FirstPlugin || i.ID > 2028 && i.ID < 3001 || i.ID < 1001 {
			t.Errorf("%s has number %d, which is not one for built-in protocols", i.Name, i.ID)
		}
		if got, err := app.Parse(i.Name); err != nil || got != i.ID {
			t.Errorf("Parse(%q) = %d, %v; want %d", i.Name, got, err, i.ID)
		}
		if base := i.ID.Base(); base.Base() != base {
			t.Errorf("the base of %s, %s, runs over another protocol", i.Name, base)
		}
	}
	for id, name := range ids {
		if on := id.Base(); on != id && ids[on] == "" {
			t.Errorf("%s runs over %d, which is not listed", name, on)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		id   app.ID
		want string
	}{
		{app.Unknown, "unknown"}, {app.Undecided, "undecided"}, {app.None, "none"}, {app.HTTP, "http"}, {12345, "app-12345"},
	} {
		if got := tt.id.String(); got != tt.want {
			t.Errorf("%d is %q, want %q", uint16(tt.id), got, tt.want)
		}
	}
	for _, tt := range []struct {
		name string
		want app.ID
	}{
		{"SSL", app.TLS}, {" postgres ", app.PostgreSQL}, {"none", app.None}, {"unknown", app.Unknown},
	} {
		if got, err := app.Parse(tt.name); err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %d, %v; want %d", tt.name, got, err, tt.want)
		}
	}
	if _, err := app.Parse("htpp"); err == nil {
		t.Error("htpp was accepted")
	}
	if got := app.Etcd.Base(); got != app.HTTP2 {
		t.Errorf("the base of etcd is %s, want http2", got)
	}
}
