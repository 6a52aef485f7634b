package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/sluicenet/sluice/plugins/host"
)

// folderPlugin is one file in the JSON of `sluice plugins list DIR`. Fields are added and never renamed.
type folderPlugin struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"`
	State   string   `json:"state"`
	Version string   `json:"version"` // "" if unknown
	Apps    []string `json:"apps"`
	Error   string   `json:"error"` // "" for none
}

// folderWait is how long `sluice plugins list DIR` waits for the plugins' starts, which fail after 10 s each, side
// by side.
const folderWait = 15 * time.Second

// listFolder starts the plugins of a folder as an agent does, lists them, and ends them.
func (c *cli) listFolder(ctx context.Context, dir, user string) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a folder: use `sluice plugins check %s` for a file", dir, dir)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(c.errs, "not root: plugins run under your own account, with your network, as no agent runs them")
	}
	h, err := host.Start(ctx, host.Config{Dir: dir, User: user, Wait: folderWait, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer h.Close()
	out := []folderPlugin{}
	for _, s := range h.Status() {
		x := folderPlugin{Name: s.Name, Path: s.Path, State: s.State.String(), Version: builtVersion(s.Path), Apps: list(s.Apps)}
		if !s.Running {
			x.Error = s.Error
		}
		out = append(out, x)
	}
	if c.json() {
		return c.document(out)
	}
	if len(out) == 0 {
		fmt.Fprintf(c.out, "No plugins in %s.\n", dir)
		return nil
	}
	rows := [][]cell{}
	for _, x := range out {
		rows = append(rows, []cell{text(clean(x.Name)), state(x.State), text(clean(x.Version)), text(protocols(x.Apps)), text(clean(x.Path)), text(clean(x.Error))})
	}
	c.out.table([]string{"plugin", "state", "version", "protocols", "path", "error"}, rows)
	return nil
}

// builtVersion returns the version that the Go toolchain wrote into a program: that of its module, or else the
// commit; "" for other programs.
func builtVersion(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return ""
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return ""
}
