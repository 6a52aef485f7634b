package learn_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// TestSymmetric: a conversation between equal ports that was open before is learned in both directions
// between workloads, and only from a workload where the other end is none.
func TestSymmetric(t *testing.T) {
	tunnel := func(change func(*learn.Connection)) learn.Connection {
		return conn(func(c *learn.Connection) {
			c.Proto, c.Port, c.ClientPort, c.App, c.Evidence, c.Midstream, c.Outcome = 17, 51820, 51820, app.Unknown, flow.EvidencePort, true, flow.OutcomeEstablished
			change(c)
		})
	}
	for _, c := range []struct {
		name   string
		change func(*learn.Connection)
		want   []string
	}{
		{"between workloads", func(*learn.Connection) {}, []string{"api to web on udp/51820", "web to api on udp/51820"}},
		{"to outside", func(c *learn.Connection) { c.To = model.External }, []string{"web to external on udp/51820"}},
		{"from outside", func(c *learn.Connection) { c.From = model.External }, []string{"api to external on udp/51820"}},
		{"unanswered", func(c *learn.Connection) { c.Answered, c.Outcome = false, flow.OutcomeUnanswered }, nil},
		{"spoofed", func(c *learn.Connection) { c.Verdict = flow.Violate }, nil},
		{"its beginning was seen", func(c *learn.Connection) { c.Evidence, c.Midstream = flow.EvidenceHandshake, false }, []string{"web to api on udp/51820"}},
		{"other ports", func(c *learn.Connection) { c.ClientPort = 51821 }, nil},
		{"no client's port", func(c *learn.Connection) { c.ClientPort = 0 }, nil},
	} {
		l := learn.New(model.NewRules(nil, model.Order{}))
		in := tunnel(c.change)
		var got []string
		for _, r := range brief(l.Learn([]learn.Connection{in, in}, 1)) {
			_, text, _ := strings.Cut(r, "allow from ")
			text, _, _ = strings.Cut(text, " for ")
			got = append(got, text)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: learned %q, want %q", c.name, got, c.want)
		}
		if again := l.Learn([]learn.Connection{in}, 2); len(again) > 0 {
			t.Errorf("%s: learned again: %v", c.name, brief(again))
		}
	}
}
