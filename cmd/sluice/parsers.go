package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/plugins/host"
	"github.com/sluicenet/sluice/plugins/sdk"
)

// Places where protocols may be parsed.
const (
	inProcess = "inprocess"
	inPlugin  = "plugin"
)

// standardCommand is the hidden command as which the program runs itself as the standard plugin.
const standardCommand = "plugin-standard"

// parserFlags select where protocols are parsed.
type parserFlags struct{ where, dir, user string }

// pluginUserUsage is the help of --plugin-user.
const pluginUserUsage = "account that plugins run as (default: a user id for each one that nothing else has)"

func (f *parserFlags) add(fl *pflag.FlagSet, where string) {
	fl.StringVar(&f.where, "parsers", where, "where protocols are parsed: plugin (a process without privileges) or inprocess (least latency)")
	fl.StringVar(&f.dir, "plugin-dir", "", "folder with parser plugins of your own; it is watched, and plugins may be added, exchanged and removed")
	fl.StringVar(&f.user, "plugin-user", "", pluginUserUsage)
}

func (f *parserFlags) check() error {
	if f.where != inProcess && f.where != inPlugin {
		return fmt.Errorf("--parsers: there is no choice %q: use plugin or inprocess", f.where)
	}
	return nil
}

// placed is the parsers of an engine, wherever they are.
type placed struct {
	registry *parsers.Registry
	host     *host.Host // nil: all are in process
}

// config puts the parsers into an engine's configuration.
func (p *placed) config(c engine.Config) engine.Config {
	c.Parsers = p.registry
	if p.host != nil {
		c.Remote = p.host
	}
	return c
}

// status is how the plugins are.
func (p *placed) status() []host.Status {
	if p.host == nil {
		return nil
	}
	return p.host.Status()
}

func (p *placed) close() {
	if p.host != nil {
		p.host.Close()
	}
}

// warnings are sentences about what is wrong with the plugins.
func (p *placed) warnings() []string {
	if p.host == nil {
		return nil
	}
	return p.host.Warnings()
}

// placing is what open needs beside the flags.
type placing struct {
	numbers host.Numbers // gives the applications that plugins name their numbers; nil for processes that do not share them
	data    string       // folder in which the plugins' protocols are remembered; "" is none
	strict  bool         // a plugin that does not start is an error: no process is there to wait for it
	log     *slog.Logger
}

// open starts what the flags ask for.
func (f *parserFlags) open(ctx context.Context, with *placing) (*placed, error) {
	reg, err := builtin.Registry()
	if err != nil {
		return nil, err
	}
	cfg := host.Config{Dir: f.dir, Strict: with.strict, Numbers: with.numbers, User: f.user, Logger: with.log}
	if with.data != "" {
		cfg.Known = filepath.Join(with.data, "plugins.json")
	}
	if f.where == inPlugin {
		if reg, err = builtin.Local(); err != nil {
			return nil, err
		}
		// The running file, even if another one has taken its place on disk since.
		cfg.Plugins = append(cfg.Plugins, host.Plugin{Name: "standard", Path: "/proc/self/exe", Args: []string{standardCommand}})
	}
	if len(cfg.Plugins) == 0 && f.dir == "" {
		return &placed{registry: reg}, nil
	}
	h, err := host.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &placed{registry: reg, host: h}, nil
}

// newStandardPlugin is the command as which the program serves its own parsers to itself.
func newStandardPlugin() *cobra.Command {
	return &cobra.Command{
		Use:    standardCommand,
		Short:  "Serve the built-in parsers; Sluice starts this itself",
		Hidden: true,
		Args:   args(),
		RunE: func(*cobra.Command, []string) error {
			reg, err := builtin.Registry()
			if err != nil {
				return err
			}
			sdk.ServeRegistry("standard", reg)
			return errors.New("the plugin has ended")
		},
	}
}
