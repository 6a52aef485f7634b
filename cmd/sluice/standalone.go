package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicenet/sluice/agent"
	"github.com/sluicenet/sluice/core/policy"
)

// standaloneFlags are the flags of `sluice standalone`.
type standaloneFlags struct {
	data, listen, mode, node string
	fail                     string // default of groups without a fail mode of their own; "" keeps what is stored
	netns, docker            []string
	hostNetwork              bool
	workloads                string
	logLevel, logFormat      string
	socket                   string
	processes                bool
	place                    parserFlags
	backends                 []string
	choice                   map[string]string // of backends, by workload
	load                     loadFlags
	open                     openFlags
}

func newStandalone(c *cli) *cobra.Command {
	var f standaloneFlags
	cmd := &cobra.Command{
		Use:   "standalone",
		Short: "Run agent, controller and store in one process",
		Long: `Watches the workloads of this machine: every named network namespace (` + "`ip netns`" + `) with an address, or
those that --netns names, and with --docker the containers of a Docker daemon. Their groups begin in --mode: discover learns, monitor reports, protect refuses.
Nothing changes for a workload until its group is switched to protect.

It needs root. What it learns is kept in --data and survives a restart. It is stopped by SIGINT or
SIGTERM and then leaves every workload as it was.`,
		Example: `  sudo sluice standalone
  sudo sluice standalone --netns 'shop-*' --netns db --workloads shop.yaml
  sudo sluice standalone --docker unix:///run/docker.sock --host-network
  sudo sluice standalone --data /srv/sluice --listen "" --log-format json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.socket = c.socket
			return runStandalone(cmd.Context(), &f, c.errs)
		},
	}
	fl := cmd.Flags()
	f.addAgentFlags(fl)
	fl.StringVar(&f.mode, "mode", "", modeUsage)
	fl.StringVar(&f.fail, "fail", "", failUsage)
	return cmd
}

// addAgentFlags adds the flags of whatever watches this machine's workloads.
func (f *standaloneFlags) addAgentFlags(fl *pflag.FlagSet) {
	host, _ := os.Hostname()
	fl.StringVar(&f.data, "data", "/var/lib/sluice", "folder for rules, groups and history")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:9473", `address for /healthz, /readyz and /metrics; "" for none`)
	fl.StringVar(&f.listen, "metrics", "127.0.0.1:9473", "the same as --listen: what a controller calls it")
	_ = fl.MarkHidden("metrics") // it is there
	fl.StringArrayVar(&f.netns, "netns", nil, "name or pattern of namespaces to watch; may be given again (default all)")
	fl.StringArrayVar(&f.docker, "docker", nil, "socket of a Docker daemon whose containers are watched, such as unix:///run/docker.sock, or auto: $DOCKER_HOST or that one; may be given again")
	fl.BoolVar(&f.hostNetwork, "host-network", false, "watch the connections of this machine's own processes too; they are never refused")
	fl.StringVar(&f.workloads, "workloads", "", "YAML file with names, services, labels and exclusions of namespaces")
	fl.StringVar(&f.node, "node", host, "name of this machine")
	f.place.add(fl, inPlugin)
	f.load.add(fl)
	f.open.add(fl)
	fl.StringArrayVar(&f.backends, "backend", nil, "NETNS=nfqueue or NETNS=afpacket: by what a workload is enforced; may be given again (default afpacket, where it can)")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fl.BoolVar(&f.processes, "search-processes", true, "look for the other ends of interfaces in the namespaces of all processes too")
}

// check looks at flags that depend on nothing else.
func (f *standaloneFlags) check() (policy.Mode, error) {
	m, err := f.checkMode()
	switch {
	case err != nil:
		return m, err
	case f.checkFail() != nil:
		return m, f.checkFail()
	case f.load.check() != nil:
		return m, f.load.check()
	case f.open.check() != nil:
		return m, f.open.check()
	case f.place.check() != nil:
		return m, f.place.check()
	case f.node == "":
		return m, fmt.Errorf("this machine has no host name: give one with --node")
	case f.data == "":
		return m, fmt.Errorf("--data is empty: give a folder, such as /var/lib/sluice")
	case len(f.socket) > maxSocketPath:
		return m, fmt.Errorf("the socket's path is %d bytes long, and Linux takes %d at most: give a shorter one with --socket", len(f.socket), maxSocketPath)
	}
	return m, f.chooseBackends()
}

// chooseBackends reads --backend.
func (f *standaloneFlags) chooseBackends() error {
	f.choice = map[string]string{}
	for _, b := range f.backends {
		name, how, ok := strings.Cut(b, "=")
		if !ok || name == "" || !agent.CheckChoice(how) {
			return fmt.Errorf("--backend %q: give NETNS=nfqueue or NETNS=afpacket", b)
		}
		f.choice[name] = how
	}
	return nil
}

// maxSocketPath is what sockaddr_un takes (unix(7)), with the closing zero.
const maxSocketPath = 107

// logger makes the logger that the flags ask for.
func (f *standaloneFlags) logger(w *screen) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level: there is no level %q: use debug, info, warn or error", f.logLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch f.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format: there is no format %q: use text or json", f.logFormat)
}

// welcome shows what runs now and what to do next.
func (f *standaloneFlags) welcome(w *screen, mode string) {
	watched := "every named network namespace"
	if len(f.netns) > 0 {
		watched = "network namespaces " + strings.Join(f.netns, ", ")
	}
	if len(f.docker) > 0 {
		watched += " and the containers of " + strings.Join(f.docker, ", ")
	}
	if f.hostNetwork {
		watched += " and this machine's own sockets"
	}
	flag := ""
	if f.socket != defaultSocket {
		flag = " --socket " + f.socket
	}
	fmt.Fprintf(w, "%s\n", w.paint(bold, "sluice "+thisBuild().Version+" watches "+watched+"; new groups begin in "+mode+" mode."))
	fmt.Fprintf(w, "  socket %s, data %s", f.socket, f.data)
	if f.listen != "" {
		fmt.Fprintf(w, ", metrics http://%s/metrics", f.listen)
	}
	fmt.Fprintf(w, "\nTry:\n  sluice%s workloads\n  sluice%s observe -f\n  sluice%s connections\n  sluice%s mode set all protect\n", flag, flag, flag, flag)
}
