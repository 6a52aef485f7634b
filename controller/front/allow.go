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

// headerFor is the header with the caller whose call a standby passes on.
const headerFor = "sluice-for"

// operator is the value of headerFor for a caller on a machine's own socket.
const operator = "operator"

// caller is who makes a call, and for whom.
type caller struct {
	operator bool
	mtls.Identity
	passed bool // a controller passes it on
}

// callerOf finds out who calls. Only controllers are accepted as callers on behalf of others.
func callerOf(ctx context.Context) (caller, error) {
	c := caller{Identity: mtls.Peer(ctx)}
	if p, ok := peer.FromContext(ctx); ok && (p.AuthInfo == nil || p.AuthInfo.AuthType() == "insecure") {
		c.operator = true
		return c, nil
	}
	if sent := metadata.ValueFromIncomingContext(ctx, headerFor); len(sent) > 0 {
		if c.Role != mtls.Controller {
			return c, status.Errorf(codes.PermissionDenied, "%s may not call on behalf of others", c.Identity)
		}
		if sent[0] == operator {
			return caller{operator: true, passed: true}, nil
		}
		id, err := mtls.ParseIdentity(sent[0])
		if err != nil {
			return c, status.Error(codes.PermissionDenied, err.Error())
		}
		return caller{Identity: id, passed: true}, nil
	}
	return c, nil
}

// name is the caller's value of headerFor.
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

// may returns the reason why a caller may not make a call, nil if it may.
func (c *caller) may(method string) error {
	switch {
	case c.operator, c.Role == mtls.Controller:
		return nil
	case c.Role == mtls.Agent && ofAgents[method]:
		return nil
	case c.Role == mtls.Nobody:
		return status.Error(codes.Unauthenticated, "the caller's certificate has expired, or names no owner: renew it with `sluice certs --renew`")
	}
	return status.Errorf(codes.PermissionDenied, "%s may not call %s", c.Identity, method)
}

// unary rejects calls that are not permitted, and reports of agents for other nodes.
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

// stream rejects calls that are not permitted.
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
