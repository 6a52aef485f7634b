//go:build linux

// Program bench is Sluice's own performance suite: it measures a bare veth, a tapped one and
// one with the engine inline side by side, in namespaces that it makes and removes. It is for
// comparing paths on one machine within one run; numbers of different machines, or of
// different days on a shared one, say little about each other. It is not a test: nothing
// fails for being slow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// options are what the command line says.
type options struct {
	rounds     int
	seconds    float64
	rate       int
	ipv6       bool
	out        string
	tasks      []task
	cpuProfile string
	nice       int
	lock       string
	markdown   bool
	from       string
}

var testNames = []string{"idle", "tcp1", "tcp4", "conn", "ping", "udp"}

func main() {
	if len(os.Args) == 3 && strings.HasPrefix(os.Args[1], rolePrefix) {
		os.Exit(childMain(strings.TrimPrefix(os.Args[1], rolePrefix), os.Args[2]))
	}
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
	if o.from != "" {
		if err := show(o); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string) (*options, error) {
	o := &options{}
	var only, tests, rows string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.Usage = func() { usageText(f) }
	f.IntVar(&o.rounds, "rounds", 3, "how often every contender is measured")
	f.Float64Var(&o.seconds, "seconds", 2, "length of one measurement")
	f.IntVar(&o.rate, "rate", 150_000, "datagrams a second of the udp test")
	f.BoolVar(&o.ipv6, "6", false, "IPv6 instead of IPv4")
	f.StringVar(&o.out, "out", "", "write the rows as JSON to this file")
	f.StringVar(&only, "only", strings.Join(contenderNames(false), ","), "contenders")
	f.StringVar(&tests, "tests", strings.Join(testNames, ","), "tests")
	f.StringVar(&rows, "rows", "", "run only the tests whose \"CONTENDER TEST\" this regular expression matches, and plain beside them")
	f.BoolVar(&o.markdown, "markdown", false, "print the table as Markdown")
	f.StringVar(&o.from, "from", "", "measure nothing: print the table of a file that -out wrote")
	f.StringVar(&o.cpuProfile, "cpuprofile", "", "write CPU profiles of the dataplane to FILE.CONTENDER.ROUND")
	f.IntVar(&o.nice, "nice", 0, "nice value of the programs that are measured; negative on a busy machine")
	f.StringVar(&o.lock, "lock", "", "hold a lock on this file while measuring, so that two suites do not measure at once")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: everything is said with flags", f.Arg(0))
	case o.rounds < 1 || o.seconds < 0.1 || o.rate < 1:
		return nil, errors.New("at least one round, 0.1 seconds and one datagram a second are needed")
	}
	return o, o.choose(only, tests, rows)
}

// choose works out what is to be measured.
func (o *options) choose(only, tests, rows string) error {
	names, err := list(only, contenderNames(true))
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	wanted, err := list(tests, testNames)
	if err != nil {
		return fmt.Errorf("-tests: %w", err)
	}
	var match *regexp.Regexp
	if rows != "" {
		if match, err = regexp.Compile(rows); err != nil {
			return fmt.Errorf("-rows: %w", err)
		}
	}
	if o.tasks = tasks(names, wanted, match); len(o.tasks) == 0 {
		return errors.New("that leaves nothing to measure: no contender that was asked for has such a test")
	}
	return nil
}

// usageText is what --help says.
func usageText(f *flag.FlagSet) {
	out := f.Output()
	fmt.Fprintf(out, `bench measures what Sluice costs: a bare veth pair and the same with Sluice's dataplane on it, side by
side. It needs root, makes network namespaces of its own and removes them.

Usage: bench [flags]

Contenders:
%s
Tests:
  idle           processor time and memory of the dataplane while nothing happens
  tcp1, tcp4     one and four streams, every byte verified
  conn           new connections with one HTTP request each, 32 at a time
  ping           64 bytes there and back on one connection
  udp            64-byte frames at a steady rate

Examples:
  bench -out bench.json
  bench -rows 'inline conn' -rounds 5
  bench -from bench.json -markdown

Flags:
`, describe())
	f.PrintDefaults()
}

// list splits s, whose parts must be known.
func list(s string, known []string) ([]string, error) {
	parts := strings.Split(s, ",")
	for _, p := range parts {
		if !slices.Contains(known, p) {
			return nil, fmt.Errorf("%q is not one of %s", p, strings.Join(known, ", "))
		}
	}
	return parts, nil
}
