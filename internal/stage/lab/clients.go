package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/miekg/dns"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// opTimeout bounds one operation of a client.
const opTimeout = 10 * time.Second

// Flow is one kind of traffic of the lab: From opens a connection to To and uses it.
type Flow struct {
	From, To string
	Proto    string // tcp, udp
	Port     int
	App      string // its protocol
	Family   string // ipv4, ipv6
	// Once opens a connection, uses it, and closes it.
	Once func(context.Context) error
}

// String returns the flow in words.
func (f *Flow) String() string {
	return fmt.Sprintf("%s to %s, %s/%d %s over %s", f.From, f.To, f.Proto, f.Port, f.App, f.Family)
}

// client is one kind of client.
type client func(ctx context.Context, from *Host, addr, suffix string) error

// Flows returns the regular traffic of the lab, in both families.
func (l *Lab) Flows() []*Flow {
	var out []*Flow
	for _, f := range []struct {
		from, to, proto string
		port            int
		app             string
		use             client
	}{
		{"web", "dns", "udp", portDNS, "dns", useDNS},
		{"web", "api", "tcp", portHTTP, "http", useHTTP},
		{"web", "api", "tcp", portGRPC, "grpc", useGRPC},
		{"api", "db", "tcp", portDB, "postgresql", useDB},
		{"api", "cache", "tcp", portRedis, "redis", useRedis},
		{"api", "web", "tcp", portTLS, "tls", useTLS},
		{"web", "cart", "tcp", portHTTP, "http", useHTTP},
		{"cart", "pay", "tcp", portHTTP, "http", useHTTP},
		{"cart", "cache", "tcp", portRedis, "redis", useRedis},
	} {
		for suffix, family := range map[string]string{"4": "ipv4", "6": "ipv6"} {
			from, addr := l.hosts[f.from], l.hosts[f.to].Addr(f.proto+suffix, f.port)
			out = append(out, &Flow{From: f.from, To: f.to, Proto: f.proto, Port: f.port, App: f.app, Family: family,
				Once: func(ctx context.Context) error {
					ctx, cancel := context.WithTimeout(ctx, opTimeout)
					defer cancel()
					return f.use(ctx, from, addr, suffix)
				}})
		}
	}
	return out
}

func useDNS(ctx context.Context, from *Host, addr, suffix string) error {
	q := new(dns.Msg).SetQuestion("api.lab.", map[string]uint16{"4": dns.TypeA, "6": dns.TypeAAAA}[suffix])
	conn, err := from.Dial(ctx, "udp"+suffix, addr)
	if err != nil {
		return err
	}
	c := &dns.Conn{Conn: conn}
	defer c.Close()
	deadline(ctx, c)
	if err := c.WriteMsg(q); err != nil {
		return err
	}
	_, err = c.ReadMsg()
	return err
}

func deadline(ctx context.Context, c net.Conn) {
	if t, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(t)
	}
}

func useHTTP(ctx context.Context, from *Host, addr, suffix string) error {
	return get(ctx, from, "http://"+addr+"/orders/7", "api.lab", nil)
}

func useTLS(ctx context.Context, from *Host, addr, suffix string) error {
	return get(ctx, from, "https://"+addr+"/hook", "web.lab", &tls.Config{ServerName: "web.lab", InsecureSkipVerify: true}) //nolint:gosec // the lab's own certificate
}

func get(ctx context.Context, from *Host, url, host string, conf *tls.Config) error {
	tr := &http.Transport{DialContext: from.Dial, TLSClientConfig: conf, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Host = host
	res, err := tr.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	return drain(res.Body)
}

func useGRPC(ctx context.Context, from *Host, addr, suffix string) error {
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) { return from.Dial(ctx, "tcp"+suffix, a) }))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = healthv1.NewHealthClient(c).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

func useDB(ctx context.Context, from *Host, addr, suffix string) error {
	c, err := dialDB(ctx, from, addr, suffix)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	return query(ctx, c)
}

func dialDB(ctx context.Context, from *Host, addr, suffix string) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig("postgres://app@" + addr + "/shop?sslmode=disable")
	if err != nil {
		return nil, err
	}
	conf.DialFunc = func(ctx context.Context, _, a string) (net.Conn, error) { return from.Dial(ctx, "tcp"+suffix, a) }
	conf.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return pgx.ConnectConfig(ctx, conf)
}

func query(ctx context.Context, c *pgx.Conn) error {
	var answer string
	return c.QueryRow(ctx, "select answer from orders").Scan(&answer)
}

func useRedis(ctx context.Context, from *Host, addr, suffix string) error {
	c := dialRedis(from, addr, suffix)
	defer c.Close()
	return c.Incr(ctx, "visits").Err()
}

func dialRedis(from *Host, addr, suffix string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, PoolSize: 1, MaxRetries: -1, DisableIdentity: true, Protocol: 2,
		Dialer: func(ctx context.Context, _, a string) (net.Conn, error) { return from.Dial(ctx, "tcp"+suffix, a) },
	})
}
