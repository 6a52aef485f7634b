package server

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/eventlog"
	"github.com/sluicenet/sluice/controller/filter"
)

// Observe streams events until the caller has enough or the controller closes: those behind the
// cursor, or the last ones, and then new ones.
func (c *control) Observe(r *controlv1.ObserveRequest, stream grpc.ServerStreamingServer[controlv1.Event]) error {
	f, err := c.wanted(r.GetFilter(), filter.Events)
	if err != nil {
		return err
	}
	reader, err := c.s.events.Subscribe(f, r.Cursor, int(min(r.Last, largestPage)))
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	defer c.s.events.Close(reader)
	// The header marks that no event is missed from now on.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		e, missed, err := reader.Next(stream.Context(), c.s.closed)
		switch {
		case errors.Is(err, eventlog.ErrClosed):
			return status.Error(codes.Unavailable, "the controller is closing")
		case err != nil:
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

// ListEvents returns the events that are kept and match, oldest first.
func (c *control) ListEvents(_ context.Context, r *controlv1.ListEventsRequest) (*controlv1.ListEventsResponse, error) {
	f, err := c.wanted(r.GetFilter(), filter.Events)
	if err != nil {
		return nil, err
	}
	p, err := c.s.events.List(eventlog.Query{Filter: f, Token: r.GetPage().GetToken(), Limit: pageLimit(r.GetPage()), Newest: r.Newest})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &controlv1.ListEventsResponse{Events: p.Events, NextToken: p.Next, Total: p.Total, Lost: p.Lost}, nil
}
