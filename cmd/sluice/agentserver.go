package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluicenet/sluice/agent"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// agentServer answers calls on an agent's own socket without a controller.
type agentServer struct {
	controlv1.UnimplementedControlServer
	a         *agent.Agent
	version   string
	store     func() *controlv1.StoreState
	addresses []string // of the controllers
}

// server returns a gRPC server with the agent's answers; for others it is an error.
func (s *agentServer) server() *grpc.Server {
	elsewhere := status.Error(codes.FailedPrecondition, "this socket is an agent's, which knows its own machine only: ask on a controller's machine")
	answered := map[string]bool{controlv1.Control_Status_FullMethodName: true, controlv1.Control_ListWorkloads_FullMethodName: true}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxAnswer), grpc.MaxSendMsgSize(maxAnswer),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if !answered[info.FullMethod] {
				return nil, elsewhere
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error { return elsewhere }))
	controlv1.RegisterControlServer(g, s)
	return g
}

// Status returns the agent's state, in the shape in which a controller returns that of all.
func (s *agentServer) Status(context.Context, *controlv1.StatusRequest) (*controlv1.StatusResponse, error) {
	n := s.a.Status()
	n.LastSeen = n.State.Uplink.LastReport
	out := &controlv1.StatusResponse{Version: s.version, Started: n.Started, Role: roleAgent, Policy: n.Wanted, StoreState: s.store(), Nodes: []*controlv1.NodeStatus{n},
		Workloads: uint64(len(s.a.Workloads()))}
	out.Store = out.StoreState.GetName()
	for _, a := range s.addresses {
		out.Controllers = append(out.Controllers, &controlv1.ControllerState{Address: a}) // which one is in use is in the node's uplink
	}
	return out, nil
}

// ListWorkloads is the workloads of this machine.
func (s *agentServer) ListWorkloads(context.Context, *controlv1.ListWorkloadsRequest) (*controlv1.ListWorkloadsResponse, error) {
	return &controlv1.ListWorkloadsResponse{Workloads: s.a.Workloads()}, nil
}
