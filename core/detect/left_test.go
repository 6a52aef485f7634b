package detect_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
)

func leftOf(apps ...app.ID) detect.Left {
	l := detect.Left{Known: true}
	for _, a := range apps {
		l.Add(a)
	}
	return l
}

func TestLeft(t *testing.T) {
	many := leftOf(1, 2, 3, 4, 5, 6, 7, 8)
	tests := []struct {
		name string
		left detect.Left
		app  app.ID
		want bool
	}{
		{"an empty list", detect.Left{}, app.HTTP, true},
		{"listed", leftOf(app.Redis, app.HTTP), app.HTTP, true},
		{"not listed", leftOf(app.Redis), app.HTTP, false},
		{"runs over one that is listed", leftOf(app.HTTP2), app.GRPC, true},
		{"no parser is left", leftOf(), app.HTTP, false},
		{"unknown is always possible", leftOf(), app.Unknown, true},
		{"a plugin's may run over one that is listed", leftOf(app.HTTP), app.FirstPlugin + 1, true},
		{"as many as are listed", many, app.HTTP, false},
	}
	for _, tt := range tests {
		if got := tt.left.Could(tt.app); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if many.Add(9); many.Known {
		t.Error("more than fit are listed")
	}
	l := leftOf(app.HTTP)
	other := leftOf(app.Redis, app.HTTP)
	if l.Join(&other); l != leftOf(app.HTTP, app.Redis) {
		t.Errorf("joined: %+v", l)
	}
	if l.Join(&detect.Left{}); l.Known {
		t.Errorf("joined with an empty list: %+v", l)
	}
}
