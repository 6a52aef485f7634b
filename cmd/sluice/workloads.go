package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
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
	Note       string            `json:"note"`
	Interfaces []interfaceView   `json:"interfaces"`
}

type interfaceView struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	Kind      string   `json:"kind"`
	Addresses []string `json:"addresses"`
	Backend   string   `json:"backend"`
	Note      string   `json:"note"`
}

func newWorkloads(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "workloads",
		Aliases: []string{"workload"},
		Short:   "List the workloads, their modes and how they are attached",
		Long: `Lists every workload that was found. BACKEND says how an interface is attached: "tap"
watches copies of its packets, "inline" lets each packet through or not, "nfqueue" does so by a
queue inside of the workload; NOTE says why it is not the usual way, or why it is not attached.`,
		Example: "  sluice workloads\n  sluice workloads -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				r, err := cl.ListWorkloads(ctx, &controlv1.ListWorkloadsRequest{})
				if err != nil {
					return err
				}
				if c.json() {
					return c.document(viewWorkloads(r.Workloads))
				}
				c.showWorkloads(r.Workloads)
				return nil
			})
		},
	}
}

func viewWorkloads(ws []*controlv1.Workload) []workloadView {
	out := []workloadView{}
	for _, w := range ws {
		v := workloadView{w.Id, w.Name, w.Group, w.Mode, w.Namespace, w.Service, orEmpty(w.Labels), w.Node, w.Netns, w.Source, w.Image, list(w.Members), w.HostNet, w.Note, []interfaceView{}}
		for _, i := range w.Interfaces {
			v.Interfaces = append(v.Interfaces, interfaceView{i.Name, i.Mac, i.Kind, list(i.Addresses), i.Backend, i.Note})
		}
		out = append(out, v)
	}
	return out
}

func (c *cli) showWorkloads(ws []*controlv1.Workload) {
	rows := [][]cell{}
	for _, w := range ws {
		first := []cell{text(w.Name), text(w.Group), verdict(w.Mode), text(w.Namespace)}
		if w.HostNet {
			rows = append(rows, append(first, cell{}, cell{}, text("sockets"), faint(w.Note)))
			continue
		}
		for _, i := range w.Interfaces {
			backend := i.Backend
			if backend == "" {
				backend = "none"
			}
			rows = append(rows, append(first, text(i.Name), text(strings.Join(i.Addresses, " ")), text(backend), faint(i.Note)))
			first = []cell{{}, {}, {}, {}}
		}
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.out, "No workloads yet: a workload is a named network namespace (`ip netns`) with an address.")
		return
	}
	c.out.table([]string{"name", "group", "mode", "namespace", "interface", "addresses", "backend", "note"}, rows)
}

type groupView struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Mode    string   `json:"mode"`
	Members []string `json:"members"`
	Rules   uint64   `json:"rules"`
	Note    string   `json:"note"` // what the mode does not mean for all of its members
}

func viewGroup(g *controlv1.Group) groupView {
	return groupView{g.Name, g.Kind, g.Mode, list(g.Members), g.Rules, g.Note}
}

func newGroups(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "groups",
		Aliases: []string{"group"},
		Short:   "List the groups, their modes and members",
		Long: `Lists the groups that rules are made of. Every workload is in one service group, which has a
mode; "external", "nodes", "unmanaged" and "any" are there always and have none.`,
		Example: "  sluice groups\n  sluice groups -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				r, err := cl.ListGroups(ctx, &controlv1.ListGroupsRequest{})
				if err != nil {
					return err
				}
				views, rows := []groupView{}, [][]cell{}
				for _, g := range r.Groups {
					views = append(views, viewGroup(g))
					rows = append(rows, []cell{text(g.Name), text(g.Kind), verdict(g.Mode), number(uint64(len(g.Members))), number(g.Rules), faint(strings.Join(g.Members, " ")), faint(g.Note)})
				}
				if c.json() {
					return c.document(views)
				}
				c.out.table([]string{"name", "kind", "mode", "workloads", "rules", "members", "note"}, rows)
				return nil
			})
		},
	}
}
