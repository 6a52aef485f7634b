package server

import (
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// Kinds of event.
const (
	eventConnection = "connection"
	eventViolation  = "violation"
	eventThreat     = "threat"
	eventWarning    = "warning"
)

// Observe streams events from now on until the caller has enough or the controller closes.
func (c *control) Observe(r *controlv1.ObserveRequest, stream grpc.ServerStreamingServer[controlv1.Event]) error {
	match, err := filter(r)
	if err != nil {
		return err
	}
	reader := c.s.bus.subscribe(match)
	defer c.s.bus.unsubscribe(reader)
	// The header says that nothing from here on is missed.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		e, missed, err := reader.next(stream.Context(), c.s.closed)
		if err != nil {
			return err
		}
		if missed > 0 {
			e = proto.CloneOf(e)
			e.Missed = missed
		}
		if err := stream.Send(e); err != nil {
			return err
		}
	}
}

// filter is the request as a function.
func filter(r *controlv1.ObserveRequest) (func(*controlv1.Event) bool, error) {
	known := []string{"open", "learn", "allow", "violate", "deny", "pending"}
	for _, v := range r.Verdicts {
		if !slices.Contains(known, v) {
			return nil, status.Errorf(codes.InvalidArgument, "no verdict is called %q: they are %s", v, strings.Join(known, ", "))
		}
	}
	about := make(map[string]bool)
	for _, w := range r.Workloads {
		about[w] = true
	}
	return func(e *controlv1.Event) bool {
		if len(r.Verdicts) > 0 && !slices.Contains(r.Verdicts, e.Verdict) {
			return false
		}
		return len(about) == 0 || about[e.From] || about[e.To] || about[e.Reporter] ||
			about[e.FromGroup] || about[e.ToGroup] || about[short(e.FromGroup)] || about[short(e.ToGroup)]
	}, nil
}

// connectionEvent is a reported connection as observers see it.
func connectionEvent(c *controlv1.Connection, client, server *end) *controlv1.Event {
	e := &controlv1.Event{
		Stamp: c.Last, Kind: eventConnection,
		From: client.name(), To: server.name(), FromGroup: client.group, ToGroup: server.group,
		Proto: c.Proto, Port: c.ServerPort, App: app.ID(c.App).Name(),
		Verdict: flow.Verdict(c.Verdict).String(), Reason: flow.Reason(c.Reason).String(), Rule: c.Rule,
		Family: family(client.addr.Is6()), State: flow.Phase(c.State).String(),
		Bytes: c.BytesOut + c.BytesIn, Sessions: c.Sessions, Attrs: c.Attrs, Reporter: c.Workload,
	}
	if v := flow.Verdict(c.Verdict); v == flow.Violate || v == flow.Deny {
		e.Kind = eventViolation
	}
	if local := reporter(c, client, server); local.member != nil {
		e.Reporter = local.name()
	}
	return e
}

// reporter is the end that told of the connection.
func reporter(c *controlv1.Connection, client, server *end) *end {
	if c.Egress {
		return client
	}
	return server
}

// short is the part of a service group's name that people type: "web" of
// "svc:default/web".
func short(group string) string {
	if _, service, ok := strings.Cut(group, "/"); ok && strings.HasPrefix(group, "svc:") {
		return service
	}
	return group
}
