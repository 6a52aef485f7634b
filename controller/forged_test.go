package controller_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// TestForgedSource: packets that db sends to api with web's address are one row and one violation, of db where
// its own end has reported them, and never web's.
func TestForgedSource(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		forged := func(reporter string, egress bool) *controlv1.Connection {
			web, api := "10.7.0.2", "10.7.0.3"
			if v6 {
				web, api = "fd07::2", "fd07::3"
			}
			c := seen(reporter, egress, web, api, 80, app.Unknown, flow.Violate)
			c.Reason, c.Outcome, c.Answered, c.PacketsIn, c.BytesIn = controlv1.Reason_REASON_SPOOFED, controlv1.Outcome_OUTCOME_UNANSWERED, false, 0, 0
			return c
		}
		sent, received := forged("db", true), forged("api", false)
		web := "10.7.0.2"
		if v6 {
			web = "fd07::2"
		}
		for _, tt := range []struct {
			name string
			in   [][]*controlv1.Connection
			want []string
		}{
			{"both ends", [][]*controlv1.Connection{{sent, received}}, []string{"db>api 80 1", "violation db>api 80 1"}},
			{"the receiver's first in a report", [][]*controlv1.Connection{{received, sent}}, []string{"db>api 80 1", "violation db>api 80 1"}},
			{"the receiver's later", [][]*controlv1.Connection{{sent}, {received}}, []string{"db>api 80 1", "violation db>api 80 1"}},
			{"the receiver's alone", [][]*controlv1.Connection{{received}}, []string{web + ">api 80 1", "violation " + web + ">api 80 1"}},
		} {
			t.Run(fmt.Sprintf("%s, ipv6 %t", tt.name, v6), func(t *testing.T) {
				l := newLab(t)
				l.shop("n1")
				for i, cs := range tt.in {
					l.report("n1", uint64(i+1), cs...)
				}
				var got []string
				for _, e := range must[*controlv1.ListConnectionsResponse](t)(l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{})).Edges {
					got = append(got, fmt.Sprintf("%s>%s %d %d", e.FromWorkload, e.ToWorkload, e.Port, e.Sessions))
				}
				for _, v := range must[*controlv1.ListViolationsResponse](t)(l.control.ListViolations(t.Context(), &controlv1.ListViolationsRequest{})).Violations {
					got = append(got, fmt.Sprintf("violation %s>%s %d %d", v.FromWorkload, v.ToWorkload, v.Port, v.Count))
				}
				if slices.Sort(got); !cmp.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}
