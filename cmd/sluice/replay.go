package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicenet/sluice/backends/pcapfile"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

const replayHelp = `Run captures through the engine: the same decoder, sessions, parsers and policy that
work on live traffic. It reports each session with its application, each threat,
and at the end a summary.

pcap and pcapng files are read, gzip-compressed ones too, of all common link
types; what tunnels carry (IP in IP, GRE, VXLAN, Geneve, GTP, Teredo) is judged
instead of the tunnels. A damaged file is an error with the place of the damage;
packets before it are reported, and the other files are still done.

With --mode the sessions are judged as those of a workload in that mode without any
rules: discover learns them, monitor calls them violations, protect denies.

--skip, --cut, --fragment and --shuffle change the packets before the engine reads them,
in this order, to show that results do not depend on how a network delivers bytes.`

func newReplay(c *cli) *cobra.Command {
	var asJSON bool
	mode := policy.Discover
	var place parserFlags
	var change rewriting
	cmd := &cobra.Command{
		Use:   "replay [--json] [--mode MODE] FILE...",
		Short: "Run captures through the engine",
		Long:  replayHelp,
		Example: `  sluice replay trace.pcap
  sluice replay --json *.pcapng | jq 'select(.app == "unknown")'
  sluice replay --mode monitor incident.pcap.gz
  sluice replay --cut 3 --shuffle 7 trace.pcap`,
		Args: func(cmd *cobra.Command, files []string) error {
			if len(files) == 0 {
				return fmt.Errorf("FILE is missing: use `%s`", usage(cmd))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(change.check(), place.check()); err != nil {
				return err
			}
			parsers, err := place.open(cmd.Context(), &placing{strict: true, log: slog.New(slog.NewTextHandler(c.errs, &slog.HandlerOptions{Level: slog.LevelWarn}))})
			if err != nil {
				return err
			}
			defer parsers.close()
			out := bufio.NewWriterSize(c.out, 64<<10)
			defer out.Flush()
			var show replayShow = &replayTable{w: out}
			if asJSON || c.json() {
				show = &replayJSON{enc: json.NewEncoder(out)}
			}
			r := &replayer{mode: mode, show: show, errs: c.errs, parsers: parsers, change: change}
			return r.run(args)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line: session, threat, violation, summary")
	place.add(cmd.Flags(), inProcess)
	change.flags(cmd.Flags())
	cmd.Flags().Var(modeFlag{&mode}, "mode", "judge sessions as in this mode: discover, monitor or protect")
	return cmd
}

// modeFlag is a policy.Mode as a flag.
type modeFlag struct{ m *policy.Mode }

// String implements pflag.Value.
func (f modeFlag) String() string { return f.m.String() }

// Set implements pflag.Value.
func (f modeFlag) Set(s string) error {
	m, err := policy.ParseMode(s)
	if err != nil {
		return err
	}
	*f.m = m
	return nil
}

// Type implements pflag.Value.
func (f modeFlag) Type() string { return "mode" }

// replayShow prints what a replay finds.
type replayShow interface {
	session(*replaySession)
	threat(*replayThreat)
	violation(*replayViolation)
	summary(*replaySummary)
}

// replayer runs files, each through an engine of its own.
type replayer struct {
	mode    policy.Mode
	show    replayShow
	errs    io.Writer
	parsers *placed
	change  rewriting
	sum     replaySummary
}

func (r *replayer) run(files []string) error {
	begin := time.Now()
	bad := 0
	for _, name := range files {
		if err := r.file(name); err != nil {
			bad++
			fmt.Fprintln(r.errs, "error: "+err.Error())
		}
	}
	r.sum.Type, r.sum.Files, r.sum.Broken = "summary", len(files), bad
	r.sum.Seconds = time.Since(begin).Seconds()
	if bad < len(files) || r.sum.Packets > 0 { // else nothing was read
		r.show.summary(&r.sum)
	}
	if bad > 0 {
		return exitCode(1) // each file's error was shown where it happened
	}
	return nil
}

// table is the policy of a capture: one workload in the mode, and no rules.
func (r *replayer) table() (*policy.Table, error) {
	return policy.Compile(&policy.Spec{
		Version: 1, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{Groups: []uint32{0}}},
		Workloads: []policy.WorkloadSpec{{ID: engine.OfflineWorkload, Mode: r.mode}},
	})
}

// file runs one capture. Packets before a damage are reported.
func (r *replayer) file(name string) error {
	table, err := r.table()
	if err != nil {
		return err
	}
	in, err := pcapfile.Open(name)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			return fmt.Errorf("%s: %w: give the path of a pcap or pcapng file", name, pe.Err)
		}
		return err
	}
	defer in.Close()
	off := engine.NewOffline(r.parsers.config(engine.Config{}), table, r.mode == policy.Protect)
	take := newReplayTake(name, r)
	out := newRewriter(r.change, off.Frame)
	var f packet.Frame
	for n := 1; ; n++ {
		f = packet.Frame{}
		if err = in.Next(&f); err != nil {
			break
		}
		r.sum.Packets++
		out.frame(&f)
		if n%1024 == 0 {
			off.Drain(take.record, take.threat)
		}
	}
	out.finish()
	off.Finish()
	off.Drain(take.record, take.threat)
	r.sum.Malformed += off.Malformed()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
