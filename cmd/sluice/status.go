package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/counter"
)

// statusFlags are the flags of `sluice status`.
type statusFlags struct{ counters, all bool }

// workloadRows is how many workloads status shows without --all.
const workloadRows = 25

func newStatus(c *cli) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the daemon and its agents",
		Long: `Shows the state of the daemon and what it depends on: store, controllers, agents and whether each enforces
the newest policy, plugins, the queues that packets wait in with what was lost and why, and for each
workload what was seen and decided. What could not be attached is listed with its reason, as is a second
agent or controller with the name of another. Frames that went by without a verdict are red for five minutes.

On a machine with an agent alone it shows that agent. Counts are up to a second old on the machine itself, and
up to two more as a controller knows them.`,
		Example: "  sluice status\n  sluice status --all --counters\n  sluice status -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				st, err := cl.Status(ctx, &controlv1.StatusRequest{})
				if err != nil {
					return err
				}
				var ws []*controlv1.Workload
				if len(st.Nodes) > 0 { // else they are unknown
					if ws, err = allWorkloads(ctx, cl, &controlv1.ListWorkloadsRequest{}); err != nil {
						return err
					}
				}
				v := c.statusOf(st, ws)
				v.Recent = st.Unjudged > 0 && st.Role != roleAgent && c.unjudgedLately(ctx, cl)
				if c.json() {
					return c.document(v)
				}
				c.showStatus(st, &v, &f)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&f.counters, "counters", false, "show every counter of the agents and its meaning")
	cmd.Flags().BoolVar(&f.all, "all", false, fmt.Sprintf("show every workload, not the %d with most frames", workloadRows))
	return cmd
}

// lately is how long frames without a verdict stand out.
const lately = 5 * time.Minute

// unjudgedLately reports whether frames went by without a verdict within the last minutes, or that
// is unknown.
func (c *cli) unjudgedLately(ctx context.Context, cl controlv1.ControlClient) bool {
	r, err := cl.ListEvents(ctx, &controlv1.ListEventsRequest{Newest: true, Page: &controlv1.Page{Limit: 1},
		Filter: &controlv1.Filter{Kinds: []controlv1.EventKind{controlv1.EventKind_EVENT_KIND_FAILOPEN}, Since: c.out.now().Add(-lately).UnixNano()}})
	return err != nil || len(r.Events) > 0
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

func (c *cli) showStatus(st *controlv1.StatusResponse, v *statusView, f *statusFlags) {
	c.showDaemon(st, v)
	c.showControllers(st, v)
	c.showNodes(st, v)
	c.showPlugins(v)
	c.showQueues(v)
	c.showTraffic(v, f.all)
	if !f.counters {
		return
	}
	for _, n := range st.Nodes {
		rows := [][]cell{}
		for _, k := range slices.Sorted(maps.Keys(n.Counters)) {
			d, _ := counter.Lookup(k)
			rows = append(rows, []cell{text(k), number(n.Counters[k]), text(d.Help)})
		}
		c.section([]string{"counter of " + n.Node, "value", "meaning"}, rows)
	}
}

// section is a table behind an empty line; nothing where it is empty.
func (c *cli) section(head []string, rows [][]cell) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(c.out)
	c.out.table(head, rows)
}

// showDaemon is the first lines: the process, its policy, its store, what it knows.
func (c *cli) showDaemon(st *controlv1.StatusResponse, v *statusView) {
	role := ""
	if v.Role != "" {
		role = " " + v.Role
	}
	up := c.out.now().Sub(time.Unix(0, st.Started)).Round(time.Second)
	fmt.Fprintf(c.out, "%s, up %s\n", c.out.paint(bold, "sluice "+v.Version+role), up)
	fmt.Fprintln(c.out, "store "+c.storeLine(v.Store, v.StoreState))
	for _, text := range v.Warnings {
		fmt.Fprintln(c.out, c.out.paint(red, clean(text)))
	}
	if v.Role == roleAgent {
		return
	}
	if len(v.Nodes) == 0 && !slices.ContainsFunc(v.Controllers, func(x controllerView) bool { return x.State == stateLeader }) && len(v.Controllers) > 0 {
		fmt.Fprintln(c.out, c.out.paint(red, "no controller leads: agents enforce the policy that they have"))
		return
	}
	behind := 0
	for _, n := range v.Nodes {
		if n.Policy != n.Wanted || n.Held != nil {
			behind++
		}
	}
	enforced := c.out.paint(green, "enforced by every agent")
	switch {
	case len(v.Nodes) == 0:
		enforced = c.out.paint(yellow, "no agent yet")
	case behind > 0:
		enforced = c.out.paint(yellow, fmt.Sprintf("not enforced by %d of %d agents yet", behind, len(v.Nodes)))
	}
	fmt.Fprintf(c.out, "policy %d, %s\n", v.Policy, enforced)
	fmt.Fprintf(c.out, "%s in %s, %s; %s of connection, %s, %s, %s\n", counted(v.Workloads, "workload"), counted(v.Groups, "group"), counted(v.Rules, "rule"),
		counted(v.Connections, "kind"), counted(v.Sessions, "session"), counted(v.Violations, "violation"), counted(v.Threats, "threat"))
	switch {
	case v.Recent:
		fmt.Fprintln(c.out, c.out.paint(red, fmt.Sprintf("%d frames went by without a verdict, some within the last %d minutes: sluice violations --reason failopen", v.Unjudged, int(lately.Minutes()))))
	case v.Unjudged > 0:
		fmt.Fprintf(c.out, "%d frames went by without a verdict, none within the last %d minutes\n", v.Unjudged, int(lately.Minutes()))
	}
	for _, k := range slices.Sorted(maps.Keys(v.Dropped)) {
		fmt.Fprintln(c.out, c.out.paint(yellow, fmt.Sprintf("%d records lost: %s", v.Dropped[k], k)))
	}
}

func (c *cli) storeLine(name string, s *storeView) string {
	switch {
	case s == nil:
		return name
	case !s.Reachable:
		return name + ", " + c.out.paint(red, "does not answer: "+clean(s.Error))
	}
	line := name + ", " + c.out.paint(green, "answers") + fmt.Sprintf(", revision %d", s.Revision)
	if s.Leader != "" {
		line += ", led by " + s.Leader
	}
	return line
}

// stateLeader is the state of the leader.
const stateLeader = "leader"

// stateColours are those of controllers, agents and plugins.
var stateColours = map[string]colour{stateLeader: green, "owner": green, "away": red, "refused": red, "running": green, "restarting": yellow, "failed": red, "starting": yellow,
	"in use": green, "does not answer": red}

func state(s string) cell { return cell{text: s, colour: stateColours[s]} }

func (c *cli) showControllers(st *controlv1.StatusResponse, v *statusView) {
	rows := [][]cell{}
	for i, x := range v.Controllers {
		seen := ""
		if x.LastSeen != "" {
			seen = c.out.ago(st.Controllers[i].LastSeen)
		}
		rows = append(rows, []cell{text(x.Name), state(x.State), text(x.Address), text(x.Version), text(seen)})
	}
	head := []string{"controller", "state", "address", "version", "last seen"}
	c.section(head, rows)
	for _, x := range v.Controllers {
		c.showRivals("controller "+x.Name, x.Rivals)
	}
}

// showRivals lists those that were refused a name that another one has.
func (c *cli) showRivals(name string, rivals []ownerView) {
	for _, r := range rivals {
		fmt.Fprintln(c.out, c.out.paint(red, name+": ")+fmt.Sprintf("another process wants this name and is refused: on %s at %s, version %s, run %s", r.Machine, r.Address, r.Version, r.Run))
	}
}

// showNodes lists the agents and what is wrong with them.
func (c *cli) showNodes(st *controlv1.StatusResponse, v *statusView) {
	rows := [][]cell{}
	for i, n := range v.Nodes {
		enforced := cell{text: fmt.Sprint(n.Policy), colour: green}
		switch {
		case n.Held != nil:
			enforced = cell{text: fmt.Sprintf("%d, held", n.Policy), colour: red}
		case n.Policy != n.Wanted:
			enforced = cell{text: fmt.Sprintf("%d, wanted %d", n.Policy, n.Wanted), colour: yellow}
		}
		seen := text(c.out.ago(st.Nodes[i].LastSeen))
		if n.Away {
			seen.colour = red
		}
		store := cell{}
		if n.Store != nil && v.Role != roleStandalone {
			if store = (cell{text: "answers", colour: green}); !n.Store.Reachable {
				store = cell{text: "does not answer", colour: red}
			}
		}
		owner := cell{}
		if n.Owner != nil {
			owner = text(strings.TrimSpace(n.Owner.Machine + " " + n.Owner.Address))
		}
		rows = append(rows, []cell{text(n.Node), state(n.Phase), owner, text(n.Version), enforced, seen, text(n.Uplink.Controller), store, number(n.Uplink.Backlog), number(uint64(len(n.Errors)))})
	}
	c.section([]string{"node", "state", "owner", "version", "policy", "last report", "controller", "store", "waiting", "errors"}, rows)
	for _, n := range v.Nodes {
		c.showRivals("node "+n.Node, n.Rivals)
		for _, w := range slices.Sorted(maps.Keys(n.Errors)) {
			fmt.Fprintln(c.out, c.out.paint(red, w+": ")+clean(n.Errors[w]))
		}
		for _, text := range n.Warnings {
			fmt.Fprintln(c.out, c.out.paint(yellow, n.Node+": ")+clean(text))
		}
		if lost := causes(n.Uplink.Dropped); lost != "" {
			fmt.Fprintln(c.out, c.out.paint(yellow, n.Node+": records lost: ")+lost)
		}
	}
}

// of is the node's name where there are several.
func (v *statusView) of(n *nodeView) cell {
	if len(v.Nodes) < 2 {
		return cell{}
	}
	return text(n.Node)
}

func (c *cli) showPlugins(v *statusView) {
	rows := [][]cell{}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		for _, p := range n.Plugins {
			pid := cell{text: "-", right: true}
			if p.PID != 0 {
				pid = number(uint64(p.PID))
			}
			rows = append(rows, []cell{text(p.Name), v.of(n), state(p.State), pid, text(p.User), number(p.Restarts), coloured(p.Panics, yellow), number(p.Items), text(clean(p.Path)), faint(clip(clean(p.LastError), 60))})
		}
	}
	c.section([]string{"plugin", "node", "state", "pid", "user", "restarts", "panics", "items", "path", "last error"}, rows)
}

// clip shortens a text to n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// causes lists what was counted by cause, without zeros.
func causes(m map[string]uint64) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k] > 0 {
			out = append(out, fmt.Sprintf("%s %d", k, m[k]))
		}
	}
	return strings.Join(out, ", ")
}

// showQueues adds up the queues of each backend.
func (c *cli) showQueues(v *statusView) {
	rows := [][]cell{}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		sum := map[string]*queueView{}
		for _, q := range n.Queues {
			s := sum[q.Backend]
			if s == nil {
				s = &queueView{Dropped: map[string]uint64{}, Bypassed: map[string]uint64{}}
				sum[q.Backend] = s
			}
			s.Queues += q.Queues
			s.Waiting += q.Waiting
			s.Fill = max(s.Fill, q.Fill)
			s.Received += q.Received
			addAll(s.Dropped, q.Dropped)
			addAll(s.Bypassed, q.Bypassed)
		}
		for _, t := range n.Workloads {
			if s := sum[t.Backend]; s != nil {
				addAll(s.Dropped, t.Dropped)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(sum)) {
			s := sum[name]
			rows = append(rows, []cell{text(name), v.of(n), number(uint64(s.Queues)), number(s.Waiting), percent(s.Fill), number(s.Received), text(causes(s.Dropped)), text(causes(s.Bypassed))})
		}
	}
	c.section([]string{"backend", "node", "queues", "waiting", "full", "frames", "dropped", "went by unjudged"}, rows)
}

func percent(f float64) cell { return cell{text: fmt.Sprintf("%.0f%%", 100*f), right: true} }

func addAll(to, from map[string]uint64) {
	for k, n := range from {
		to[k] += n
	}
}

// showTraffic is a row for each workload and backend; the interfaces are added up, but for lo,
// whose packets an application's other interfaces carry too.
func (c *cli) showTraffic(v *statusView, all bool) {
	type row struct {
		trafficView
		node cell
	}
	var list []*row
	for i := range v.Nodes {
		n := &v.Nodes[i]
		at := map[[2]string]*row{}
		for _, t := range n.Workloads {
			if t.Interface == "lo" {
				t.Backend += " on lo"
			}
			k := [2]string{t.Workload, t.Backend}
			r := at[k]
			if r == nil {
				r = &row{trafficView: t, node: v.of(n)}
				r.Verdicts, r.Dropped = maps.Clone(t.Verdicts), maps.Clone(t.Dropped)
				at[k] = r
				list = append(list, r)
				continue
			}
			r.FramesOut, r.FramesIn, r.BytesOut, r.BytesIn = r.FramesOut+t.FramesOut, r.FramesIn+t.FramesIn, r.BytesOut+t.BytesOut, r.BytesIn+t.BytesIn
			r.Sessions += t.Sessions
			addAll(r.Verdicts, t.Verdicts)
			addAll(r.Dropped, t.Dropped)
		}
	}
	total := len(list)
	if !all && total > workloadRows {
		slices.SortStableFunc(list, func(a, b *row) int { return cmp.Compare(b.FramesOut+b.FramesIn, a.FramesOut+a.FramesIn) })
		list = list[:workloadRows]
	}
	rows := [][]cell{}
	for _, r := range list {
		rows = append(rows, []cell{text(clean(r.Name)), r.node, verdict(r.Mode), text(r.Backend), number(r.FramesOut), number(r.FramesIn), size(r.BytesOut + r.BytesIn), number(r.Sessions),
			number(r.Verdicts["learn"]), number(r.Verdicts["allow"]), coloured(r.Verdicts["violate"], yellow), coloured(r.Verdicts["deny"], red), text(causes(r.Dropped))})
	}
	c.section([]string{"workload", "node", "mode", "backend", "out", "in", "bytes", "sessions", "learned", "allowed", "violations", "denied", "dropped"}, rows)
	if len(list) < total {
		fmt.Fprintf(c.out, "and %d more: sluice status --all\n", total-len(list))
	}
}

// coloured is a number that stands out where it is not 0.
func coloured(n uint64, col colour) cell {
	x := number(n)
	if n > 0 {
		x.colour = col
	}
	return x
}
