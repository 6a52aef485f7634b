package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicenet/sluice/plugins/host"
)

// checkedPlugin is one file in the JSON of `sluice plugins check`. Fields are added and never renamed.
type checkedPlugin struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"`
	OK      bool     `json:"ok"`
	Apps    []string `json:"apps"`
	Problem string   `json:"problem"` // "" where there is none
}

func newPluginsCheck(c *cli) *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "check DIR|FILE",
		Short: "Start plugins as an agent would, and report what is wrong",
		Long: `Starts a plugin, or one after the other those of a folder, as the agent does: with the same account, limits and namespaces. It
lists what each recognises and what is wrong, and ends it. What plugins write is logged to standard error. The exit code is 1 where
something is wrong. Run it as root: other users cannot start a plugin under another account.`,
		Example: "  sudo sluice plugins check /etc/sluice/plugins\n  sudo sluice plugins check ./tally -o json",
		Args:    args("DIR|FILE"),
		RunE: func(cmd *cobra.Command, a []string) error {
			files, err := pluginFiles(a[0])
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(c.errs, &slog.HandlerOptions{Level: slog.LevelInfo}))
			return c.checkPlugins(cmd.Context(), files, user, log)
		},
	}
	cmd.Flags().StringVar(&user, "plugin-user", "", pluginUserUsage)
	return cmd
}

// pluginFiles are those of a folder, or the one file.
func pluginFiles(path string) ([]host.Plugin, error) {
	info, err := os.Stat(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !info.IsDir() {
		return []host.Plugin{host.File(path)}, nil
	}
	files, err := host.Find(path)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("plugin folder: there are no files in %s", path)
	}
	return files, err
}

func (c *cli) checkPlugins(ctx context.Context, files []host.Plugin, user string, log *slog.Logger) error {
	if os.Geteuid() != 0 {
		fmt.Fprintln(c.errs, "not root: plugins run under your own account, with your network, as no agent runs them")
	}
	out, bad := []checkedPlugin{}, false
	for _, f := range files {
		x := checkPlugin(ctx, f, user, log)
		out, bad = append(out, x), bad || !x.OK
	}
	if c.json() {
		if err := c.document(out); err != nil {
			return err
		}
	} else {
		rows := [][]cell{}
		for _, x := range out {
			mark := cell{text: "ok", colour: green}
			if !x.OK {
				mark = cell{text: "problem", colour: red}
			}
			rows = append(rows, []cell{mark, text(clean(x.Name)), text(strings.Join(x.Apps, ", ")), text(clean(x.Problem))})
		}
		c.out.table([]string{"", "plugin", "protocols", "problem"}, rows)
	}
	if bad {
		return exitCode(1)
	}
	return nil
}

// checkPlugin starts one plugin and ends it.
func checkPlugin(ctx context.Context, f host.Plugin, user string, log *slog.Logger) checkedPlugin {
	x := checkedPlugin{Name: f.Name, Path: f.Path, Apps: []string{}}
	h, err := host.Start(ctx, host.Config{Plugins: []host.Plugin{f}, User: user, Logger: log})
	if err != nil {
		x.Problem = strings.TrimPrefix(err.Error(), "plugin "+f.Name+": ")
		return x
	}
	defer h.Close()
	s := h.Status()[0]
	if x.OK = s.Running; !x.OK {
		x.Problem = s.Error
	}
	x.Apps = list(s.Apps)
	return x
}
