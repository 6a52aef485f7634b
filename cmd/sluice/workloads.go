package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
)

type workloadView struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Group      string            `json:"group"`
	Mode       string            `json:"mode"`
	Namespace  string            `json:"namespace"`
	Service    string            `json:"service"`
	Labels     map[string]string `json:"labels"`
	Node       string            `json:"node"`
	NetNS      string            `json:"netns"`
	Source     string            `json:"source"`
	Image      string            `json:"image"`
	Members    []string          `json:"members"` // further containers in its namespace
	HostNet    bool              `json:"host_net"`
	Choice     string            `json:"choice"`    // the backend that was chosen for it: nfqueue, afpacket or auto
	ChosenBy   string            `json:"chosen_by"` // who did; empty with auto
	Note       string            `json:"note"`
	Interfaces []interfaceView   `json:"interfaces"`
}

type interfaceView struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	Kind      string   `json:"kind"`
	Addresses []string `json:"addresses"`
	Backend   string   `json:"backend"`
	Note      string   `json:"note"`  // why it is attached so
	Error     string   `json:"error"` // why it is not attached as it should be
}

func newWorkloads(c *cli) *cobra.Command {
	var req controlv1.ListWorkloadsRequest
	var modes []string
	cmd := &cobra.Command{
		Use:     "workloads",
		Aliases: []string{"workload"},
		Short:   "List the workloads, their modes and how they are attached",
		Long: `Lists every workload that was found. BACKEND is how an interface is attached: "tap"
watches copies of its packets, "inline" lets each packet through or not where it is hooked, "nfqueue" does so by a
queue inside of the workload, "inside" leaves it to the workload (a network of its nested containers). WHY has the reason, and what is not as configured.`,
		Example: "  sluice workloads\n  sluice workloads --select 10.0.0.0/24 --mode protect\n  sluice workloads -o json\n  sluice workloads backend web nfqueue",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if req.Modes, err = parseAll[controlv1.Mode]("mode", modes, controlv1.Mode_value); err != nil {
				return err
			}
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				ws, err := allWorkloads(ctx, cl, &req)
				if err != nil {
					return err
				}
				if c.json() {
					return c.document(viewWorkloads(ws))
				}
				c.showWorkloads(ws)
				return nil
			})
		},
	}
	cmd.SuggestionsMinimumDistance = 2
	f := cmd.Flags()
	f.StringSliceVar(&req.Select, "select", nil, "only these: names, ids, groups, addresses, CIDRs")
	f.StringSliceVar(&req.Nodes, "node", nil, "only of this node")
	f.StringSliceVar(&modes, "mode", nil, "only in this mode: discover, monitor, protect")
	cmd.AddCommand(newBackend(c))
	return listed(cmd)
}

func viewWorkloads(ws []*controlv1.Workload) []workloadView {
	out := []workloadView{}
	for _, w := range ws {
		v := workloadView{w.Id, w.Name, w.Group, vocab.Text(w.Mode), w.Namespace, w.Service, orEmpty(w.Labels), w.Node, w.Netns, w.Source, w.Image, list(w.Members), w.HostNet,
			cmp.Or(w.Choice, policy.AutoBackend), w.ChosenBy, w.Note, []interfaceView{}}
		for _, i := range w.Interfaces {
			v.Interfaces = append(v.Interfaces, interfaceView{i.Name, i.Mac, i.Kind, list(i.Addresses), i.Backend, i.Note, i.Error})
		}
		out = append(out, v)
	}
	return out
}

// reason is why an interface is attached as it is: what is wrong comes first.
func reason(i *controlv1.Interface) cell {
	switch {
	case i.Error != "" && i.Note != "":
		return cell{text: clean(i.Error + " (" + i.Note + ")"), colour: yellow}
	case i.Error != "":
		return cell{text: clean(i.Error), colour: yellow}
	}
	return faint(clean(i.Note))
}

// reachable returns addresses without link-local ones, which say little to a reader.
func reachable(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool {
		p, err := netip.ParsePrefix(s)
		return err == nil && p.Addr().IsLinkLocalUnicast()
	})
}

func (c *cli) showWorkloads(ws []*controlv1.Workload) {
	rows, nodes := [][]cell{}, map[string]bool{}
	for _, w := range ws {
		nodes[w.Node] = true
	}
	// By name: the ids of containers begin with their hashes.
	ws = slices.Clone(ws)
	slices.SortStableFunc(ws, func(a, b *controlv1.Workload) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Node, b.Node))
	})
	for _, w := range ws {
		first := []cell{text(clean(w.Name)), text(w.Group), verdict(vocab.Text(w.Mode)), {}}
		if len(nodes) > 1 {
			first[3] = text(w.Node)
		}
		if w.HostNet {
			rows = append(rows, append(first, cell{}, cell{}, text("sockets"), faint(clean(w.Note))))
			continue
		}
		for _, i := range w.Interfaces {
			rows = append(rows, append(first, text(i.Name), text(strings.Join(reachable(i.Addresses), " ")), text(cmp.Or(i.Backend, "none")), reason(i)))
			first = []cell{{}, {}, {}, {}}
		}
		if w.Note != "" {
			rows = append(rows, append(first, cell{}, cell{}, cell{}, cell{text: clean(w.Note), colour: yellow}))
		}
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.out, "No workloads yet: a workload is a named network namespace (`ip netns`) with an address.")
		return
	}
	c.out.table([]string{"name", "group", "mode", "node", "interface", "addresses", "backend", "why"}, rows)
}

type groupView struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	Mode     string   `json:"mode"`
	Fail     string   `json:"fail"` // open, closed; empty where the default counts
	Members  []string `json:"members"`
	Rules    uint64   `json:"rules"`
	Note     string   `json:"note"` // what the mode does not mean for all of its members
	Comment  string   `json:"comment"`
	Revision uint64   `json:"revision"`
}

func viewGroup(g *controlv1.Group) groupView {
	return groupView{g.Name, vocab.Text(g.Kind), vocab.Text(g.Mode), vocab.Text(g.Fail), list(g.Members), g.Rules, g.Note, g.Comment, g.Revision}
}

// allGroups fetches the groups of these names, all without any.
func allGroups(ctx context.Context, cl controlv1.ControlClient, names ...string) ([]*controlv1.Group, error) {
	groups, _, err := pages(0, func(p *controlv1.Page) (page[*controlv1.Group], error) {
		r, err := cl.ListGroups(ctx, &controlv1.ListGroupsRequest{Select: names, Page: p})
		return page[*controlv1.Group]{r.GetGroups(), r.GetNextToken(), r.GetTotal()}, err
	})
	return groups, err
}

func newGroups(c *cli) *cobra.Command {
	return listed(&cobra.Command{
		Use:     "groups [GROUP...]",
		Aliases: []string{"group"},
		Short:   "List the groups, their modes and members",
		Long: `Lists the groups that rules are made of. Every workload is in one service group, which has a
mode and may have a fail mode of its own (see "sluice fail"); "external", "nodes", "unmanaged", "multicast",
"metadata" and "any" always exist and have neither.`,
		Example: "  sluice groups\n  sluice groups web db\n  sluice groups -o json",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, a []string) error {
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				groups, err := allGroups(ctx, cl, a...)
				if err != nil {
					return err
				}
				if c.json() {
					views := []groupView{}
					for _, g := range groups {
						views = append(views, viewGroup(g))
					}
					return c.document(views)
				}
				ws, err := allWorkloads(ctx, cl, &controlv1.ListWorkloadsRequest{})
				if err != nil {
					return err
				}
				c.showGroups(groups, ws)
				return nil
			})
		},
	})
}

// showGroups lists groups with the names of their members: the ids of containers are hashes.
func (c *cli) showGroups(groups []*controlv1.Group, ws []*controlv1.Workload) {
	names := map[string]string{}
	for _, w := range ws {
		names[w.Id] = clean(w.Name)
	}
	rows := [][]cell{}
	for _, g := range groups {
		var members []string
		for _, id := range g.Members {
			members = append(members, cmp.Or(names[id], clean(id)))
		}
		slices.Sort(members)
		rows = append(rows, []cell{text(g.Name), text(vocab.Text(g.Kind)), verdict(vocab.Text(g.Mode)), {text: vocab.Text(g.Fail), colour: failColour(g.Fail)}, number(uint64(len(g.Members))), number(g.Rules), faint(strings.Join(members, " ")), faint(g.Note)})
	}
	c.out.table([]string{"name", "kind", "mode", "fail", "workloads", "rules", "members", "note"}, rows)
}
