// Package builtin is the one list of the parsers that come with Sluice. It holds no
// protocol of its own.
package builtin

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/dns"
	"github.com/sluicenet/sluice/parsers/http"
	"github.com/sluicenet/sluice/parsers/mysql"
	"github.com/sluicenet/sluice/parsers/postgresql"
	"github.com/sluicenet/sluice/parsers/redis"
	"github.com/sluicenet/sluice/parsers/ssh"
	"github.com/sluicenet/sluice/parsers/tls"
)

// Registry is a registry of every built-in parser.
func Registry() (*parsers.Registry, error) {
	r := &parsers.Registry{}
	for _, e := range []parsers.Entry{
		{Parser: http.New(), ID: app.HTTP, On: parsers.TCP},
		{Parser: tls.New(), ID: app.TLS, On: parsers.TCP},
		{Parser: ssh.New(), ID: app.SSH, On: parsers.TCP},
		{Parser: dns.New(), ID: app.DNS, On: parsers.TCP | parsers.UDP},
		{Parser: mysql.New(), ID: app.MySQL, On: parsers.TCP},
		{Parser: redis.New(), ID: app.Redis, On: parsers.TCP},
		{Parser: postgresql.New(), ID: app.PostgreSQL, On: parsers.TCP},
	} {
		if err := r.Add(e.Parser, e.ID, e.On); err != nil {
			return nil, err
		}
	}
	return r, nil
}
