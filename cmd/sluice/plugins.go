package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

func newPlugins(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "plugins",
		Aliases: []string{"plugin"},
		Short:   "List the parser plugins; check files before they are used",
		Long: `Parser plugins are processes without privileges that recognise protocols. The folder of --plugin-dir is watched: a file
that is put there is started, one that replaces another is exchanged, one that is removed is ended.`,
		Example: "  sluice plugins list\n  sluice plugins check ./tally",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) > 0 {
				return fmt.Errorf("there is no command \"plugins %s\": use `sluice plugins list` or `sluice plugins check`", a[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newPluginsList(c), newPluginsCheck(c))
	return cmd
}

// listedPlugin is one plugin of one node in the JSON of `sluice plugins list`. Fields are added and never renamed.
type listedPlugin struct {
	Node string `json:"node"`
	pluginView
}

func newPluginsList(c *cli) *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "list [DIR]",
		Short: "List the plugins of the running agents, or of a folder",
		Long: `Lists the plugins of every agent that the daemon knows: what they recognise, how often they were restarted and panicked, and why
they failed last. What is wrong now follows, with what to do.

With DIR, lists the plugins of a folder instead, without a running Sluice: it starts each file as the agent does, and ends it. The
exit code is 0 even if some do not start: use ` + "`sluice plugins check`" + ` to test that. Run it as root: other users cannot start a plugin
under another account.`,
		Example: "  sluice plugins list\n  sluice plugins list -o json\n  sudo sluice plugins list /etc/sluice/plugins",
		Args: func(cmd *cobra.Command, a []string) error {
			if len(a) > 1 {
				return args("DIR")(cmd, a)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) > 0 {
				return c.listFolder(cmd.Context(), a[0], user)
			}
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				st, err := cl.Status(ctx, &controlv1.StatusRequest{})
				if err != nil {
					return err
				}
				return c.listPlugins(st)
			})
		},
	}
	cmd.Flags().StringVar(&user, "plugin-user", "", "with DIR: "+pluginUserUsage)
	return cmd
}

func (c *cli) listPlugins(st *controlv1.StatusResponse) error {
	out := []listedPlugin{}
	for _, n := range st.Nodes {
		for _, p := range n.State.GetPlugins() {
			out = append(out, listedPlugin{n.Node, viewPlugin(p)})
		}
	}
	if c.json() {
		return c.document(out)
	}
	if len(out) == 0 {
		fmt.Fprintln(c.out, "No plugins: parsers run in the agents' own processes.")
		return nil
	}
	rows := [][]cell{}
	for i := range out {
		p := &out[i]
		node := cell{}
		if len(st.Nodes) > 1 {
			node = text(p.Node)
		}
		pid := cell{text: "-", right: true}
		if p.PID != 0 {
			pid = number(uint64(p.PID))
		}
		rows = append(rows, []cell{text(p.Name), node, state(p.State), pid, text(p.User), number(p.Restarts), coloured(p.Panics, yellow), text(protocols(p.Apps)), text(clean(p.Path)),
			faint(clip(clean(p.LastError), 80))})
	}
	c.out.table([]string{"plugin", "node", "state", "pid", "account", "restarts", "panics", "protocols", "path", "last error"}, rows)
	for i := range out {
		if p := &out[i]; p.Warning != "" {
			fmt.Fprintln(c.out, c.out.paint(yellow, p.Node+": plugin "+p.Name+": ")+clean(p.Warning))
		}
	}
	return nil
}

// protocols lists names, or how many there are where they are many.
func protocols(names []string) string {
	if len(names) > 4 {
		return fmt.Sprintf("%d", len(names))
	}
	return strings.Join(names, ", ")
}

func viewPlugin(p *controlv1.Plugin) pluginView {
	return pluginView{Name: p.Name, Path: p.Path, User: p.User, PID: p.Pid, State: vocab.Text(p.Phase), Restarts: p.Restarts, Items: p.Items, Protocols: p.Protocols, Since: stamp(p.Since),
		LastError: p.Error, Panics: p.Panics, Apps: list(p.Apps), Warning: p.Warning, Away: p.Away}
}

// pluginTrouble returns what makes an agent unwell of its plugins: those that do not run although sessions were given to
// them. One that is restarted within seconds is none of them, nor a file that never was a plugin.
func pluginTrouble(list []*controlv1.Plugin) string {
	for _, p := range list {
		if p.Away && (p.Phase == controlv1.PluginPhase_PLUGIN_PHASE_FAILED || p.Phase == controlv1.PluginPhase_PLUGIN_PHASE_REFUSED) {
			return fmt.Sprintf("plugin %s: %s", p.Name, p.Warning)
		}
	}
	return ""
}
