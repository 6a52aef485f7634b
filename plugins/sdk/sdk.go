// Package sdk is the library for parser plugins: a main of ten lines serves any number of parsers to
// Sluice. Parsers depend on package parsers alone and can move into Sluice or out of it unchanged.
// Package plugins/host starts and watches plugins.
package sdk

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	parserv1 "github.com/sluicenet/sluice/api/parser/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// Transports of a protocol.
const (
	TCP = parsers.TCP
	UDP = parsers.UDP
)

// Protocol is one parser and its transports.
type Protocol struct {
	Parser parsers.Parser
	On     parsers.Transport
}

// Serve serves protocols until Sluice stops the process. A name that Sluice lists (`http`) means that
// protocol; any other is a new one, which Sluice numbers. The error is about the protocols: an invalid or
// duplicate name.
func Serve(name string, protocols ...Protocol) error {
	reg, err := Registry(protocols...)
	if err != nil {
		return fmt.Errorf("plugin %s: %w", name, err)
	}
	ServeRegistry(name, reg)
	return nil
}

// Registry returns a registry of protocols, numbered by their names.
func Registry(protocols ...Protocol) (*parsers.Registry, error) {
	reg := &parsers.Registry{}
	next := app.FirstPlugin
	ids := map[string]app.ID{}
	for _, p := range protocols {
		if p.Parser == nil {
			return nil, errors.New("a protocol without a parser")
		}
		name := p.Parser.Name()
		if err := app.CheckName(name); err != nil {
			return nil, err
		}
		id, err := app.Parse(name)
		if err != nil {
			if id = ids[name]; id == app.Unknown {
				id = next
				next++
				ids[name] = id
			}
		}
		if err := reg.Add(p.Parser, id, p.On); err != nil {
			return nil, err
		}
	}
	if reg.Len() == 0 {
		return nil, errors.New("there are no protocols")
	}
	return reg, nil
}

// ServeRegistry is Serve for numbered parsers.
func ServeRegistry(name string, reg *parsers.Registry) {
	limit()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: wire.Format, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		Plugins:         plugin.PluginSet{wire.PluginKind: &served{server: NewServer(name, reg)}},
		GRPCServer:      newGRPC,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, JSONFormat: true}),
	})
}

// newGRPC returns a server with fixed HTTP/2 windows, because measuring them costs messages.
func newGRPC(opts []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(opts, grpc.InitialWindowSize(wire.Window), grpc.InitialConnWindowSize(2*wire.Window),
		grpc.ReadBufferSize(wire.Buffer), grpc.WriteBufferSize(wire.Buffer))...)
}

// served implements go-plugin's server side.
type served struct {
	plugin.NetRPCUnsupportedPlugin
	server *Server
}

var _ plugin.GRPCPlugin = (*served)(nil)

// GRPCServer implements plugin.GRPCPlugin.
func (s *served) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	parserv1.RegisterParserServer(g, s.server)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin; the client side is in plugins/host.
func (s *served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("the sdk has no client")
}
