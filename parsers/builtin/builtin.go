// Package builtin is the one list of the parsers that come with Sluice. It is not for
// parsers of plugins: those enter a registry by the same door, behind these.
package builtin

import (
	"fmt"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/dns"
	"github.com/sluicenet/sluice/parsers/http"
	"github.com/sluicenet/sluice/parsers/http2"
	"github.com/sluicenet/sluice/parsers/mysql"
	"github.com/sluicenet/sluice/parsers/postgresql"
	"github.com/sluicenet/sluice/parsers/redis"
	"github.com/sluicenet/sluice/parsers/ssh"
	"github.com/sluicenet/sluice/parsers/tls"
)

// Registry makes a registry of every built-in parser. The order breaks ties between equally
// strong claims: those with the longest magic stand first.
func Registry() (*parsers.Registry, error) {
	list := []struct {
		parser parsers.Parser
		id     app.ID
		on     parsers.Transport
	}{
		{http.New(), app.HTTP, parsers.TCP},
		{tls.New(), app.TLS, parsers.TCP},
		{http2.New(), app.HTTP2, parsers.TCP},
		{ssh.New(), app.SSH, parsers.TCP},
		{postgresql.New(), app.PostgreSQL, parsers.TCP},
		{mysql.New(), app.MySQL, parsers.TCP},
		{redis.New(), app.Redis, parsers.TCP},
		{dns.New(), app.DNS, parsers.TCP | parsers.UDP},
		{dns.NewMDNS(), app.MDNS, parsers.UDP},
		{dns.NewLLMNR(), app.LLMNR, parsers.TCP | parsers.UDP},
	}
	r := &parsers.Registry{}
	for _, e := range list {
		if err := r.Add(e.parser, e.id, e.on); err != nil {
			return nil, fmt.Errorf("built-in parsers: %w", err)
		}
	}
	return r, nil
}
