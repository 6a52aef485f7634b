package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// server is a real server, and a real client of it.
type server struct {
	app  string
	port int
	// start gives the command that runs the server inside its namespace; dir is its own.
	start func(t *testing.T, dir string) []string
	// client gives the command that uses it once.
	client func(host string) []string
	// says is what the client must print.
	says string
}

var servers = []server{
	{"redis", 6379, startRedis, func(h string) []string { return []string{"redis-cli", "-h", h, "incr", "visits"} }, ""},
	{"postgresql", 5432, startPostgres, func(h string) []string {
		return []string{"psql", "-h", h, "-U", "postgres", "-d", "postgres", "-Atc", "select 6*7"}
	}, "42"},
	{"mysql", 3306, startMariaDB, func(h string) []string {
		return []string{"mariadb", "--no-defaults", "--skip-ssl", "-h", h, "-u", "root", "-Ne", "select 6*7"}
	}, "42"},
	{"ssh", 2222, startSSH, func(h string) []string { return []string{"ssh-keyscan", "-T", "3", "-p", "2222", h} }, "ssh-"},
}

func startRedis(_ *testing.T, dir string) []string {
	return []string{"redis-server", "--port", "6379", "--bind", "*", "-::*", "--protected-mode", "no", "--save", "", "--dir", dir}
}

func startPostgres(t *testing.T, dir string) []string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		t.Fatal("no PostgreSQL is installed: run deploy/setup.sh test")
	}
	bin := found[len(found)-1]
	data := filepath.Join(dir, "pg")
	// PostgreSQL does not run as root.
	as := []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"}
	must(t, "chown", "postgres", dir)
	initdb := append(slices.Clone(as[1:]), bin+"/initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N")
	must(t, as[0], initdb...)
	write(t, filepath.Join(data, "pg_hba.conf"), "host all all 0.0.0.0/0 trust\nhost all all ::0/0 trust\n")
	must(t, "chown", "postgres", filepath.Join(data, "pg_hba.conf"))
	return append(as, bin+"/postgres", "-D", data, "-k", dir, "-c", "listen_addresses=*", "-c", "fsync=off")
}

func startMariaDB(t *testing.T, dir string) []string {
	t.Helper()
	data := filepath.Join(dir, "my")
	must(t, "mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--user=root", "--skip-test-db")
	return []string{"mariadbd", "--no-defaults", "--datadir=" + data, "--user=root", "--socket=" + filepath.Join(dir, "my.sock"),
		"--pid-file=" + filepath.Join(dir, "my.pid"), "--bind-address=*", "--skip-grant-tables", "--skip-networking=0"}
}

func startSSH(t *testing.T, dir string) []string {
	t.Helper()
	key := filepath.Join(dir, "key")
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd locks its unprivileged half in
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf("Port 2222\nHostKey %s\nPidFile none\nUsePAM no\n", key))
	return []string{"/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "conf")}
}

func must(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// TestRealServers learns the traffic of real servers with real clients in both families, and
// protects it.
func TestRealServers(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("client", "server")
	client, host := b.Workloads[0], b.Workloads[1]
	for _, s := range servers {
		dir, err := os.MkdirTemp("", "slsrv")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		serve(t, host, s, dir)
	}
	p := newProgram(t, "--netns", client.NS.Name, "--netns", host.NS.Name)
	p.start()
	useAll(t, client, host, "while it learns")
	until(t, 10*time.Second, "every server's application is learned in both families", func() error {
		have := map[string]bool{}
		for _, c := range read[[]connection](p, "connections") {
			have[fmt.Sprintf("%s %d %s", c.App, c.Port, c.Family)] = true
		}
		var missing []string
		for _, s := range servers {
			for _, family := range []string{"ipv4", "ipv6"} {
				if want := fmt.Sprintf("%s %d %s", s.app, s.port, family); !have[want] {
					missing = append(missing, want)
				}
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("missing %v; known %v", missing, have)
		}
		return nil
	})
	until(t, 5*time.Second, "a rule for each", func() error {
		if n := len(read[[]rule](p, "rules")); n < len(servers) {
			return fmt.Errorf("%d rules", n)
		}
		return nil
	})
	p.run("mode", "set", "all", "protect")
	useAll(t, client, host, "while it protects")
}

// serve starts a server and waits until it listens.
func serve(t *testing.T, host *testnet.Workload, s server, dir string) {
	t.Helper()
	args := s.start(t, dir)
	cmd := host.NS.Command(args[0], args[1:]...)
	log := &testnet.Output{}
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", s.app, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, network := range families {
		until(t, 20*time.Second, s.app+" listens", func() error {
			c, err := host.NS.TryDial(network, host.Addr(network, s.port), time.Second)
			if err != nil {
				return fmt.Errorf("%w\n%s", err, log)
			}
			return c.Close()
		})
	}
}

// useAll uses every server once in each family.
func useAll(t *testing.T, client, host *testnet.Workload, when string) {
	t.Helper()
	for _, s := range servers {
		for _, network := range families {
			ip, _, _ := net.SplitHostPort(host.Addr(network, s.port))
			args := s.client(ip)
			out, err := client.NS.Command("timeout", append([]string{"10"}, args...)...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), s.says) {
				t.Errorf("%s, %s over %s: %v\n%s", when, s.app, network, err, out)
			}
		}
	}
}
