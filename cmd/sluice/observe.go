package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

func newObserve(c *cli) *cobra.Command {
	var f filterFlags
	follow := false
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Show what happens, event by event",
		Long: `Shows one line for each event: time, kind, client and server with their ports, protocol and application,
bytes from client to server and back, verdict, outcome, and which end reported it (egress: the
client). A connection that lasts is "opened" and later "ended", a short one is "ended" only, and one that policy
refuses, or would refuse, is a "violation". Other kinds are threat, failopen, warning and node.

Without -f it shows the newest events that are kept, oldest first, and ends. With -f it continues; --limit is
then how many kept events come first (none). After a lost connection it continues where it was, and
reports how many events were missed. With -o json each line is a JSON object.` + filterHelp,
		Example: "  sluice observe -f\n  sluice observe -f --verdict deny --verdict violate\n  sluice observe --about web --since 10m --limit 0\n  sluice observe -f --kind failopen,warning -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if follow && !cmd.Flags().Changed("limit") && !cmd.Flags().Changed("last") {
				f.limit = 0
			}
			return c.filtered(cmd, &f, func(ctx context.Context, cl controlv1.ControlClient, filter *controlv1.Filter) error {
				if follow {
					return c.follow(ctx, cl, &controlv1.ObserveRequest{Filter: filter, Last: f.limit})
				}
				return c.recent(ctx, cl, filter, f.limit)
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&follow, "follow", "f", false, "continue with what happens, until interrupted")
	f.add(fl, 20)
	fl.Uint32Var(&f.limit, "last", 20, "the same as --limit")
	fl.StringSliceVar(&f.f.About, "workload", nil, "the same as --about")
	for _, old := range []string{"last", "workload"} {
		_ = fl.MarkHidden(old) // it is there
	}
	fl.StringSliceVar(&f.kinds, "kind", nil, "only of this kind: opened, ended, violation, threat, warning, failopen, node")
	return cmd
}

// recent shows the newest events that are kept, oldest first.
func (c *cli) recent(ctx context.Context, cl controlv1.ControlClient, filter *controlv1.Filter, limit uint32) error {
	lost := uint64(0)
	newest := limit > 0 && limit <= pageSize
	fetch := limit
	if !newest {
		fetch = 0 // all, of which the last are shown
	}
	events, total, err := pages(fetch, func(p *controlv1.Page) (page[*controlv1.Event], error) {
		r, err := cl.ListEvents(ctx, &controlv1.ListEventsRequest{Filter: filter, Page: p, Newest: newest})
		lost = max(lost, r.GetLost())
		got := page[*controlv1.Event]{r.GetEvents(), r.GetNextToken(), r.GetTotal()}
		if newest {
			got.next = "" // the last page is all that was asked for
		}
		return got, err
	})
	if err != nil {
		return err
	}
	if limit > 0 && len(events) > int(limit) {
		events = events[len(events)-int(limit):]
	}
	if limit == 0 && lost > 0 {
		fmt.Fprintf(c.errs, "%d older events are no longer kept\n", lost)
	}
	for _, e := range events {
		if err := c.event(e); err != nil {
			return err
		}
	}
	if len(events) == 0 && !c.json() {
		fmt.Fprintln(c.out, "No events.")
	}
	c.cut(len(events), total)
	return nil
}

// Waits between attempts to connect again.
const (
	firstReconnect = 100 * time.Millisecond
	lastReconnect  = 3 * time.Second
)

// follow shows events until ctx ends. Where the connection is lost it connects again and continues
// after the last event that it got.
func (c *cli) follow(ctx context.Context, cl controlv1.ControlClient, req *controlv1.ObserveRequest) error {
	r := reader{cli: c, req: req, wait: firstReconnect}
	for {
		err := r.read(ctx, cl)
		switch {
		case ctx.Err() != nil:
			return nil
		case !r.connected:
			return err // it never began
		case r.unknownCursor(err):
			fmt.Fprintln(c.errs, c.errs.paint(yellow, "events may be missing here: the daemon does not know where this reader was"))
			r.req.Cursor, r.req.Last, r.wait = "", 0, firstReconnect
			continue
		case err != nil && status.Code(err) != codes.Unavailable:
			return err
		}
		if !r.away {
			fmt.Fprintln(c.errs, c.errs.paint(yellow, "connection lost, trying again"))
			r.away = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(r.wait/2 + rand.N(r.wait)):
		}
		r.wait = min(2*r.wait, lastReconnect)
	}
}

// reader is one reader of events over several connections.
type reader struct {
	*cli
	req       *controlv1.ObserveRequest
	connected bool // at least once
	away      bool // since the user was informed that it is
	wait      time.Duration
}

// read shows events until the stream ends.
func (r *reader) read(ctx context.Context, cl controlv1.ControlClient) error {
	// Each attempt has a context of its own, so that an abandoned stream does not stay open.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := cl.Observe(ctx, r.req, grpc.WaitForReady(r.connected))
	if err != nil {
		return err
	}
	if h, err := stream.Header(); err == nil && h != nil {
		r.back()
	}
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			r.connected = true
			return nil
		}
		if err != nil {
			return err
		}
		r.back()
		if err := r.event(e); err != nil {
			return err
		}
		if e.Cursor != "" {
			r.req.Cursor, r.req.Last = e.Cursor, 0
		}
	}
}

// back notes that the daemon answers.
func (r *reader) back() {
	if r.away {
		fmt.Fprintln(r.errs, r.errs.paint(green, "connected again"))
		if r.req.Cursor == "" {
			fmt.Fprintln(r.errs, r.errs.paint(yellow, "events in between are not shown: there was none before to continue from"))
		}
	}
	r.connected, r.away, r.wait = true, false, firstReconnect
}

// unknownCursor reports whether the daemon refused the place to continue from, as one does that lost
// its events.
func (r *reader) unknownCursor(err error) bool {
	if r.req.Cursor == "" {
		return false
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.NotFound, codes.DataLoss:
		return true
	}
	return false
}
