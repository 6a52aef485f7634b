package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// raw is a codec that leaves messages as they are.
type raw struct{}

var _ encoding.CodecV2 = raw{}

// message is a call's request or answer, unread.
type message struct{ data mem.BufferSlice }

// Marshal returns a message's bytes.
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("pass on a %T", v)
	}
	m.data.Ref()
	return m.data, nil
}

// Unmarshal keeps a message's bytes; they are the caller's until it returns.
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("pass on a %T", v)
	}
	m.data = mem.BufferSlice{mem.SliceBuffer(data.Materialize())}
	return nil
}

// Name is that of the codec that both ends use.
func (raw) Name() string { return "proto" }

// leaderKept is how long the leader's address is used without reading it from the store again.
const leaderKept = 500 * time.Millisecond

// proxy passes calls to the leader.
type proxy struct {
	cfg *Config

	mu      sync.Mutex // guards what follows
	address string
	asked   time.Time
	conn    *grpc.ClientConn // to address
}

func newProxy(cfg *Config) *proxy { return &proxy{cfg: cfg} }

// leader returns a connection to the leader.
func (p *proxy) leader(ctx context.Context) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil && time.Since(p.asked) < leaderKept {
		return p.conn, nil
	}
	address, err := p.cfg.Leader(ctx)
	switch {
	case err != nil && p.conn != nil:
		p.asked = time.Now() // the store is unavailable; the leader may not be
		return p.conn, nil
	case err != nil:
		return nil, status.Errorf(codes.Unavailable, "this controller is a standby and does not know the leader: %v", err)
	case address == "":
		return nil, status.Error(codes.Unavailable, "this controller is a standby and there is no leader yet")
	}
	p.asked = time.Now()
	if address == p.address && p.conn != nil {
		return p.conn, nil
	}
	conn, err := p.cfg.Dial(address)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if p.conn != nil {
		p.conn.Close()
	}
	p.conn, p.address = conn, address
	return conn, nil
}

func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// leaderTime bounds reading the leader from the store.
const leaderTime = time.Second

// pass passes one call on: one request, any number of answers, as every call of our services is.
func (p *proxy) pass(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	c, err := callerOf(in.Context())
	if err != nil {
		return err
	}
	if c.passed {
		return status.Error(codes.Unavailable, "this controller is a standby, like the one that passed the call on")
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(in.Context(), metadata.Pairs(headerFor, c.name())))
	defer cancel()
	request := new(message)
	if err := in.RecvMsg(request); err != nil {
		return err
	}
	asking, done := context.WithTimeout(ctx, leaderTime)
	conn, err := p.leader(asking)
	done()
	if err != nil {
		return p.alone(method, in, err)
	}
	size := p.cfg.MaxMessage
	out, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, grpc.ForceCodecV2(raw{}),
		grpc.MaxCallRecvMsgSize(size), grpc.MaxCallSendMsgSize(size))
	if status.Code(err) == codes.Unavailable {
		return p.alone(method, in, err)
	}
	if err != nil {
		return err
	}
	if err := out.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := out.CloseSend(); err != nil {
		return err
	}
	err = answers(in, out)
	if status.Code(err) == codes.Unavailable {
		return p.alone(method, in, err) // it has sent nothing: Status has one answer
	}
	return err
}

// alone answers what can be answered without the leader; everything else is the error.
func (p *proxy) alone(method string, in grpc.ServerStream, err error) error {
	if method != controlv1.Control_Status_FullMethodName || p.cfg.Alone == nil {
		return err
	}
	data, merr := proto.Marshal(p.cfg.Alone())
	if merr != nil {
		return merr
	}
	return in.SendMsg(&message{mem.BufferSlice{mem.SliceBuffer(data)}})
}

// answers carries header, answers and outcome back.
func answers(in grpc.ServerStream, out grpc.ClientStream) error {
	header, err := out.Header()
	if err == nil && header != nil {
		err = in.SendHeader(header)
	}
	if err != nil {
		return err
	}
	for {
		m := new(message)
		err := out.RecvMsg(m)
		if errors.Is(err, io.EOF) {
			in.SetTrailer(out.Trailer())
			return nil
		}
		if err == nil {
			err = in.SendMsg(m)
		}
		if err != nil {
			return err
		}
	}
}
