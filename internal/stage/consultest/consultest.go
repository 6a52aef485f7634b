// Package consultest runs real Consul servers, one or three on loopback addresses, for tests and for
// the demo of a cluster. It does not use the stored data.
package consultest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/internal/netns"
)

// Cluster is a group of joined servers.
type Cluster struct {
	place   Place
	servers []*server
}

type server struct {
	n       int
	ip      string
	netns   string
	cmd     *exec.Cmd // nil while it is down
	done    chan error
	stopped bool // by Pause
}

// The ports of every server; each has an address of its own.
const (
	portHTTP  = 8500
	portHTTPS = 8501
	portRPC   = 8300
)

// Place is where servers run.
type Place struct {
	// Binary is the Consul program, Dir the folder for data and logs.
	Binary, Dir string
	// NetNS is the path of the servers' network namespace; "" is the caller's own.
	NetNS string
	// IPs are the servers' addresses, one for each server.
	IPs []string
	// HCL is configuration beside that which servers need, Token the ACL token that manages them.
	HCL, Token string
	// TLS makes them serve HTTPS alone; nil for HTTP alone.
	TLS *TLS
}

// TLS are files: the authority, and a certificate for the servers' addresses.
type TLS struct{ CA, Cert, Key string }

// port is where servers answer.
func (p *Place) port() string {
	if p.TLS != nil {
		return fmt.Sprint(portHTTPS)
	}
	return fmt.Sprint(portHTTP)
}

// hcl is the servers' configuration.
func (p *Place) hcl() string {
	text := "performance { raft_multiplier = 1 } disable_update_check = true leave_on_terminate = false " + p.HCL
	if p.TLS != nil {
		text += fmt.Sprintf(` ports { http = -1 https = %d } tls { https { ca_file = %q cert_file = %q key_file = %q verify_incoming = true } }`,
			portHTTPS, p.TLS.CA, p.TLS.Cert, p.TLS.Key)
	}
	return text
}

// given is the last part of the address that Loopback returned last: those whose servers do not
// listen yet are not returned again to a test that runs at the same time.
var given struct {
	sync.Mutex
	last int
}

// Loopback are n loopback addresses on which no Consul runs, so that several clusters find room on one
// machine.
func Loopback(n int) ([]string, error) {
	const room = 250
	given.Lock()
	defer given.Unlock()
	var out []string
	for tried := 0; len(out) < n; tried++ {
		if tried == room {
			return nil, errors.New("find loopback addresses: none is free")
		}
		given.last = given.last%room + 1
		ip := fmt.Sprintf("127.85.%d.%d", os.Getpid()%200+1, given.last)
		if free(ip) {
			out = append(out, ip)
		}
	}
	return out, nil
}

// Start starts servers and waits until one leads.
func Start(ctx context.Context, p Place) (*Cluster, error) {
	c := &Cluster{place: p}
	for i, ip := range p.IPs {
		c.servers = append(c.servers, &server{n: i, ip: ip, netns: p.NetNS})
	}
	for i := range c.servers {
		if err := c.Restart(i); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := c.Ready(ctx); err != nil {
		err = fmt.Errorf("%w\n%s", err, c.log(0))
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func free(ip string) bool {
	for _, port := range []int{portHTTP, portRPC} {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, fmt.Sprint(port)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// Restart starts a server that is not there, with the data that it had.
func (c *Cluster) Restart(i int) error {
	s := c.servers[i]
	data := filepath.Join(c.place.Dir, fmt.Sprintf("consul-%d", s.n))
	args := []string{"agent", "-server", fmt.Sprintf("-bootstrap-expect=%d", len(c.servers)), fmt.Sprintf("-node=s%d", s.n), "-bind=" + s.ip, "-client=" + s.ip,
		"-data-dir=" + data, "-grpc-port=-1", "-dns-port=-1", "-log-level=warn", "-disable-host-node-id",
		"-hcl=" + c.place.hcl()}
	for _, o := range c.servers {
		if o != s {
			args = append(args, "-retry-join="+o.ip)
		}
	}
	args = append(args, "-retry-interval=1s")
	log, err := os.OpenFile(data+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(c.place.Binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// A signal to the terminal is for the program that runs the cluster.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := netns.Do(c.place.NetNS, s.cmd.Start); err != nil {
		s.cmd = nil
		return fmt.Errorf("start consul: %w", err)
	}
	s.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(s.cmd, s.done)
	return nil
}

// Addresses are the servers' HTTP addresses.
func (c *Cluster) Addresses() []string {
	var out []string
	for _, s := range c.servers {
		out = append(out, net.JoinHostPort(s.ip, c.place.port()))
	}
	return out
}

// URL is the cluster as sluice's --store takes it.
func (c *Cluster) URL() string {
	scheme := "consul://"
	if c.place.TLS != nil {
		scheme = "consuls://"
	}
	return scheme + strings.Join(c.Addresses(), ",")
}

// Ready waits until a server leads and takes writes.
func (c *Cluster) Ready(ctx context.Context) error {
	var last error
	for {
		for _, s := range c.servers {
			if s.cmd == nil || s.stopped {
				continue
			}
			select {
			case err := <-s.done:
				s.done <- err
				return fmt.Errorf("consul server %d ended: %w: %s", s.n, err, c.log(s.n))
			default:
			}
			cl, err := c.client(s)
			if err != nil {
				return err
			}
			o := (&api.WriteOptions{}).WithContext(ctx)
			if _, last = cl.KV().Put(&api.KVPair{Key: "consultest", Value: []byte(time.Now().String())}, o); last != nil {
				continue
			}
			// Sessions can be made once the leader has taken the servers into its list.
			nodes, _, err := cl.Catalog().Nodes((&api.QueryOptions{}).WithContext(ctx))
			if last = err; err == nil && len(nodes) == len(c.servers) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for consul: %w (%w)", ctx.Err(), last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) client(s *server) (*api.Client, error) {
	cfg := api.DefaultNonPooledConfig()
	cfg.Address, cfg.Token, cfg.TokenFile = net.JoinHostPort(s.ip, c.place.port()), c.place.Token, ""
	if t := c.place.TLS; t != nil {
		cfg.Scheme = "https"
		secure, err := api.SetupTLSConfig(&api.TLSConfig{CAFile: t.CA, CertFile: t.Cert, KeyFile: t.Key})
		if err != nil {
			return nil, err
		}
		cfg.Transport.TLSClientConfig = secure
	}
	cfg.Transport.DialContext = func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = netns.Do(s.netns, func() error {
			d := net.Dialer{Timeout: time.Second, FallbackDelay: -1}
			c, err = d.DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
	cfg.HttpClient = &http.Client{Timeout: 2 * time.Second, Transport: cfg.Transport}
	return api.NewClient(cfg)
}

// Client is a client of the first server that runs, with the token that manages it.
func (c *Cluster) Client() (*api.Client, error) {
	for _, s := range c.servers {
		if s.cmd != nil && !s.stopped {
			return c.client(s)
		}
	}
	return nil, errors.New("no consul server runs")
}

// Leader is the number of the server that leads.
func (c *Cluster) Leader() (int, error) {
	for _, s := range c.servers {
		if s.cmd == nil || s.stopped {
			continue
		}
		cl, err := c.client(s)
		if err != nil {
			return 0, err
		}
		leader, err := cl.Status().Leader()
		if err != nil {
			continue
		}
		host, _, _ := net.SplitHostPort(leader)
		for _, o := range c.servers {
			if o.ip == host && o.cmd != nil {
				return o.n, nil
			}
		}
	}
	return 0, errors.New("no consul server leads")
}

// Kill ends a server without giving it time.
func (c *Cluster) Kill(i int) error {
	s := c.servers[i]
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Kill()
	<-s.done
	s.cmd, s.stopped = nil, false
	return err
}

// Pause suspends a server; Continue resumes it.
func (c *Cluster) Pause(i int) error {
	c.servers[i].stopped = true
	return c.servers[i].cmd.Process.Signal(syscall.SIGSTOP)
}

// Continue resumes a paused server.
func (c *Cluster) Continue(i int) error {
	c.servers[i].stopped = false
	return c.servers[i].cmd.Process.Signal(syscall.SIGCONT)
}

// Close ends every server. The data stays.
func (c *Cluster) Close() error {
	var errs []error
	for i := range c.servers {
		errs = append(errs, c.Kill(i))
	}
	return errors.Join(errs...)
}

// log is the end of a server's log.
func (c *Cluster) log(i int) string {
	data, _ := os.ReadFile(filepath.Join(c.place.Dir, fmt.Sprintf("consul-%d.log", i)))
	return string(data[max(0, len(data)-2000):])
}

// Running reports whether a server was started and not killed.
func (c *Cluster) Running(i int) bool { return c.servers[i].cmd != nil }
