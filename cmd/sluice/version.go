package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what is known of this binary.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Time     string `json:"time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "vcs.time":
			b.Time = s.Value
		}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

func newVersion(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show which sluice this is",
		Example: "  sluice version\n  sluice version -o json",
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			if c.json() {
				return c.document(b)
			}
			rev := b.Revision
			if b.Modified {
				rev += " (modified)"
			}
			fmt.Fprintf(c.out, "sluice %s\n", b.Version)
			if rev != "" {
				fmt.Fprintf(c.out, "revision %s\n", rev)
			}
			fmt.Fprintf(c.out, "%s %s\n", b.Go, b.Platform)
			return nil
		},
	}
}
