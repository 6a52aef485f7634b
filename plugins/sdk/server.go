package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	parserv1 "github.com/sluicenet/sluice/api/parser/v1"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// Server implements the plugin's gRPC service. Serve runs one; tests may register it with their own gRPC
// server.
type Server struct {
	parserv1.UnimplementedParserServer
	name string
	reg  *parsers.Registry
	once sync.Once // for the first Describe
}

// NewServer returns a server of a registry, which it only reads.
func NewServer(name string, reg *parsers.Registry) *Server { return &Server{name: name, reg: reg} }

// Describe implements parserv1.ParserServer.
func (s *Server) Describe(_ context.Context, q *parserv1.DescribeRequest) (*parserv1.DescribeResponse, error) {
	if q.Format != wire.Format {
		return nil, status.Errorf(codes.FailedPrecondition, "this plugin uses format %d, sluice uses %d: build it with the sdk of that sluice", wire.Format, q.Format)
	}
	s.once.Do(restoreOutput)
	d := &parserv1.DescribeResponse{Format: wire.Format, Name: s.name}
	for i := range s.reg.Len() {
		e := s.reg.Entry(i)
		_, alone := e.Parser.(parsers.Standalone)
		d.Protocols = append(d.Protocols, &parserv1.Protocol{Name: e.Parser.Name(), Number: uint32(e.ID), Tcp: e.On&parsers.TCP != 0, Udp: e.On&parsers.UDP != 0,
			Standalone: alone})
	}
	return d, nil
}

// Identify implements parserv1.ParserServer for the sessions of one worker.
func (s *Server) Identify(g parserv1.Parser_IdentifyServer) error {
	a := &answerer{g: g, table: newTable(s.reg)}
	defer a.table.close()
	for {
		q, err := a.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.work(q); err != nil {
			return err
		}
	}
}

// answerer serves one stream. Only its goroutine uses it.
type answerer struct {
	g      parserv1.Parser_IdentifyServer
	table  *table
	early  []*parserv1.IdentifyRequest // received while waiting for credit; bounded by the host's own window
	credit uint64
	sent   uint64
	done   uint64
	resp   parserv1.IdentifyResponse
}

// room is the maximum size of an answer to one record: all attributes and threats of a session.
const room = 16 << 10

// next returns the next request, in order.
func (a *answerer) next() (*parserv1.IdentifyRequest, error) {
	if len(a.early) > 0 {
		q := a.early[0]
		a.early = a.early[1:]
		return q, nil
	}
	return a.receive()
}

func (a *answerer) receive() (*parserv1.IdentifyRequest, error) {
	q, err := a.g.Recv()
	if err != nil {
		return nil, err
	}
	if len(q.Records) > wire.MaxMessage {
		return nil, status.Errorf(codes.InvalidArgument, "a message of %d bytes, at most %d", len(q.Records), wire.MaxMessage)
	}
	a.credit = max(a.credit, q.Credit)
	return q, nil
}

// work processes a request and answers it.
func (a *answerer) work(q *parserv1.IdentifyRequest) error {
	for b := q.Records; len(b) > 0; {
		r, rest, err := wire.Next(b)
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		a.table.handle(&r)
		if b = rest; len(a.table.out) > wire.MaxMessage-room {
			if err := a.answer(); err != nil {
				return err
			}
		}
	}
	if len(q.Records) == 0 {
		return nil // credit alone
	}
	a.done += uint64(len(q.Records))
	return a.answer()
}

// answer sends findings; while it waits for credit, it continues to receive.
func (a *answerer) answer() error {
	n := uint64(len(a.table.out))
	for n > 0 && a.sent+n > a.credit {
		q, err := a.receive()
		if err != nil {
			return fmt.Errorf("wait for credit: %w", err)
		}
		a.early = append(a.early, q)
	}
	a.sent += n
	a.resp.Records, a.resp.Done = a.table.out, a.done
	a.resp.Panics, a.resp.Panic = a.table.panics, a.table.panicked
	a.table.panics, a.table.panicked = 0, ""
	err := a.g.Send(&a.resp)
	a.table.out = make([]byte, 0, 4096)
	return err
}
