package demo

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/vocab"
)

// Report is what a demo found, as `sluice-demo --json` prints it.
type Report struct {
	OK      bool    `json:"ok"`
	Learned []Edge  `json:"learned"`
	Rules   []Rule  `json:"rules"`
	Protect Protect `json:"protect"`
	Seconds float64 `json:"seconds"`
	// Problems are sentences; empty when everything held.
	Problems []string `json:"problems"`
}

// Edge is one kind of connection that was learned.
type Edge struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Proto    string `json:"proto"`
	Port     int    `json:"port"`
	App      string `json:"app"`
	Over     string `json:"over,omitempty"` // what the application is wrapped in, where that is known
	Sessions uint64 `json:"sessions"`
	Bytes    uint64 `json:"bytes"`
	Family   string `json:"family"`
}

// Rule is one rule that was made.
type Rule struct {
	ID     uint32   `json:"id"`
	From   string   `json:"from"`
	To     string   `json:"to"`
	Ports  []string `json:"ports"`
	Apps   []string `json:"apps"`
	Action string   `json:"action"`
}

// Protect is what happened after the switch.
type Protect struct {
	Kept    int      `json:"kept"`    // connections from before the switch that still work
	Broken  int      `json:"broken"`  // those that do not, and learned operations that failed
	Allowed int      `json:"allowed"` // learned operations over new connections that worked
	Denied  []Denied `json:"denied"`
	// Failures are what broke, as sentences.
	Failures []string `json:"failures"`
}

// Denied is one attempt at something that was not learned.
type Denied struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Proto    string  `json:"proto"`
	Port     int     `json:"port"`
	Family   string  `json:"family"`
	Outcome  string  `json:"outcome"` // reset or timeout; open if it got through
	MS       float64 `json:"ms"`
	Rule     uint32  `json:"rule"` // 0 is the default of protect mode
	Reason   string  `json:"reason"`
	App      string  `json:"app"`
	Reported bool    `json:"reported"`
}

func newReport() *Report {
	return &Report{Learned: []Edge{}, Rules: []Rule{}, Protect: Protect{Denied: []Denied{}, Failures: []string{}}, Problems: []string{}}
}

func round(v float64) float64 { return math.Round(v*100) / 100 }

// judge adds the problems of a report.
func (r *Report) judge() {
	p := &r.Protect
	bad := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if p.Broken > 0 {
		bad("%d learned connections broke after the switch: %s", p.Broken, strings.Join(p.Failures, "; "))
	}
	if p.Kept == 0 {
		bad("no connection from before the switch was kept")
	}
	if p.Allowed == 0 {
		bad("no learned connection was opened after the switch")
	}
	if len(p.Denied) == 0 {
		bad("no attempt was made")
	}
	if !slices.ContainsFunc(r.Learned, func(e Edge) bool { return e.Over == "tls" && e.App == "http" }) {
		bad("nothing was learned of what the sidecars encrypt")
	}
	for _, d := range p.Denied {
		who := fmt.Sprintf("%s to %s, %s/%d over %s", d.From, d.To, d.Proto, d.Port, d.Family)
		switch {
		case d.Outcome == string(lab.Open):
			bad("%s got through", who)
		case d.Proto == "tcp" && d.Outcome != string(lab.ResetBy):
			bad("%s was not reset: %s", who, d.Outcome)
		case !d.Reported:
			bad("%s was refused, without a record", who)
		}
	}
	r.OK = len(r.Problems) == 0
}

// short is a group's name without its kind and namespace.
func short(group string) string {
	_, name, ok := strings.Cut(group, "/")
	if !ok {
		return group
	}
	return name
}

func protoName(p uint32) string {
	switch p {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 1:
		return "icmp"
	case 58:
		return "icmpv6"
	}
	return strconv.Itoa(int(p))
}

// edges asks for the connections known so far that the lab's clients made.
func (d *demo) edges(ctx context.Context) ([]Edge, error) {
	res, err := d.api.ListConnections(ctx, &controlv1.ListConnectionsRequest{})
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	out := []Edge{}
	for _, e := range res.Edges {
		if e.Proto != 6 && e.Proto != 17 || e.App == "undecided" {
			continue
		}
		out = append(out, Edge{From: short(e.From), To: short(e.To), Proto: protoName(e.Proto), Port: int(e.Port), App: e.App, Over: over(e),
			Sessions: e.Sessions, Bytes: e.BytesOut + e.BytesIn, Family: vocab.Text(e.Family)})
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return fmt.Sprint(a.From, a.To, a.Proto, a.Port, a.App, a.Family) < fmt.Sprint(b.From, b.To, b.Proto, b.Port, b.App, b.Family)
	})
	return out, nil
}

// over is the protocol below an edge's application.
func over(e *controlv1.Edge) string {
	if e.Base == e.App || e.Base == "unknown" || e.Base == "undecided" {
		return ""
	}
	return e.Base
}

func rulesOf(in []*controlv1.Rule) []Rule {
	out := make([]Rule, 0, len(in))
	for _, r := range in {
		out = append(out, Rule{ID: r.Id, From: short(r.From), To: short(r.To), Ports: r.Ports, Apps: r.Apps, Action: vocab.Text(r.Action)})
	}
	return out
}
