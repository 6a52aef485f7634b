package front

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/mtls"
)

// headerFor names for whom a controller that stands by passes a call on.
const headerFor = "sluice-for"

// operator is whom headerFor names for a caller on a machine's own socket.
const operator = "operator"

// caller is who makes a call, and for whom.
type caller struct {
	operator bool
	mtls.Identity
	passed bool // a controller passes it on
}

// callerOf finds out who calls. Only controllers are believed when they speak for others.
func callerOf(ctx context.Context) (caller, error) {
	c := caller{Identity: mtls.Peer(ctx)}
	if p, ok := peer.FromContext(ctx); ok && (p.AuthInfo == nil || p.AuthInfo.AuthType() == "insecure") {
		c.operator = true
		return c, nil
	}
	if said := metadata.ValueFromIncomingContext(ctx, headerFor); len(said) > 0 {
		if c.Role != mtls.Controller {
			return c, status.Errorf(codes.PermissionDenied, "%s may not speak for others", c.Identity)
		}
		if said[0] == operator {
			return caller{operator: true, passed: true}, nil
		}
		id, err := mtls.ParseIdentity(said[0])
		if err != nil {
			return c, status.Error(codes.PermissionDenied, err.Error())
		}
		return caller{Identity: id, passed: true}, nil
	}
	return c, nil
}

// name is what headerFor says of the caller.
func (c *caller) name() string {
	if c.operator {
		return operator
	}
	return c.Identity.String()
}

// ofAgents are the calls that an agent may make.
var ofAgents = map[string]bool{
	controlv1.Collector_RegisterNode_FullMethodName:      true,
	controlv1.Collector_ReportConnections_FullMethodName: true,
	controlv1.Collector_ReportWorkloads_FullMethodName:   true,
	controlv1.Collector_ReportStatus_FullMethodName:      true,
	controlv1.Control_Status_FullMethodName:              true,
}

// may says why a caller may not make a call, if so.
func (c *caller) may(method string) error {
	switch {
	case c.operator, c.Role == mtls.Controller:
		return nil
	case c.Role == mtls.Agent && ofAgents[method]:
		return nil
	case c.Role == mtls.Nobody:
		return status.Error(codes.Unauthenticated, "the caller's certificate has expired, or does not say whose it is: renew it with `sluice certs --renew`")
	}
	return status.Errorf(codes.PermissionDenied, "%s may not call %s", c.Identity, method)
}

// unary lets only those in who may, and agents speak of their own node only.
func unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c, err := callerOf(ctx)
	if err == nil {
		err = c.may(info.FullMethod)
	}
	if err != nil {
		return nil, err
	}
	if r, ok := req.(interface{ GetNode() string }); ok && c.Role == mtls.Agent && r.GetNode() != c.Name {
		return nil, status.Errorf(codes.PermissionDenied, "the certificate is that of node %q, the report of node %q: start the agent with --node %s", c.Name, r.GetNode(), c.Name)
	}
	return handler(ctx, req)
}

// stream lets only those in who may.
func stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c, err := callerOf(s.Context())
	if err == nil {
		err = c.may(info.FullMethod)
	}
	if err != nil {
		return err
	}
	return handler(srv, s)
}
