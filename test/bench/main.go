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
	only       []string
	tests      []string
	cpuProfile string
	nice       int
	lock       string
}

var (
	contenderNames = []string{"plain", "tap", "inline", "queue", "reflect", "queue-reflect", "queue-marked"}
	testNames      = []string{"tcp1", "tcp4", "conn", "ping", "udp"}
)

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
	var only, tests string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 3, "how often every contender is measured")
	f.Float64Var(&o.seconds, "seconds", 2, "length of one measurement")
	f.IntVar(&o.rate, "rate", 150_000, "datagrams a second of the udp test")
	f.BoolVar(&o.ipv6, "6", false, "IPv6 instead of IPv4")
	f.StringVar(&o.out, "out", "", "write the rows as JSON to this file")
	f.StringVar(&only, "only", "plain,tap,inline,queue", "contenders, of "+strings.Join(contenderNames, ", ")+" (reflect: inline without the engine; queue-marked: every flow leaves the queue at once)")
	f.StringVar(&tests, "tests", strings.Join(testNames, ","), "tests to run")
	f.StringVar(&o.cpuProfile, "cpuprofile", "", "write CPU profiles of the dataplane to FILE.CONTENDER.ROUND")
	f.IntVar(&o.nice, "nice", 0, "nice value of the programs that are measured; negative on a busy machine")
	f.StringVar(&o.lock, "lock", "", "hold a lock on this file while measuring, so that two suites do not measure at once")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: everything is said with flags", f.Arg(0))
	case o.rounds < 1 || o.seconds < 0.1 || o.rate < 1:
		err = errors.New("at least one round, 0.1 seconds and one datagram a second are needed")
	default:
		if o.only, err = list(only, contenderNames); err == nil {
			o.tests, err = list(tests, testNames)
		}
	}
	return o, err
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
