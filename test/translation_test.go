package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// virtual are the addresses of services, by family.
var virtual = map[string]string{"tcp4": "10.96.0.10", "tcp6": "fd96::10"}

// translated is the host's translation: services for the server's HTTP, UDP echo, and a port that
// nothing is to use.
const translated = `
table ip services {
	chain prerouting {
		type nat hook prerouting priority -100;
		ip daddr 10.96.0.10 tcp dport 80 dnat to 10.78.2.1:8080
		ip daddr 10.96.0.10 udp dport 53 dnat to 10.78.2.1:5353
		ip daddr 10.96.0.10 tcp dport 90 dnat to 10.78.2.1:9090
		ip daddr 10.78.1.254 tcp dport 30080 dnat to 10.78.2.1:8080
	}
}
table ip6 services {
	chain prerouting {
		type nat hook prerouting priority -100;
		ip6 daddr fd96::10 tcp dport 80 dnat to [fd78:2::1]:8080
		ip6 daddr fd96::10 udp dport 53 dnat to [fd78:2::1]:5353
		ip6 daddr fd96::10 tcp dport 90 dnat to [fd78:2::1]:9090
		ip6 daddr fd78:1::fe tcp dport 30080 dnat to [fd78:2::1]:8080
	}
}
`

// behind are a client and a server with a host between that translates services' addresses.
type behind struct {
	*program
	client *testnet.Workload
}

func newBehind(t *testing.T) *behind {
	t.Helper()
	testnet.RequireRoot(t)
	pair := testnet.New(t).Pair()
	c, s := pair.Client, pair.Server
	nft := pair.Host.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(translated)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	for _, family := range families {
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })}
		listener := s.Listen(family, s.Addr(family, 8080))
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { server.Close() })
		go echo(s.Listen(family, s.Addr(family, 9090)))
		go echoDatagrams(s.ListenPacket(udp(family), s.Addr(udp(family), 5353)))
	}
	file := filepath.Join(t.TempDir(), "workloads.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "workloads:\n  - {name: client, netns: %s}\n  - {name: server, netns: %s}\n", c.Name, s.Name), 0o600); err != nil {
		t.Fatal(err)
	}
	return &behind{newProgram(t, "--netns", strings.TrimSuffix(c.Name, "client")+"*", "--workloads", file), c}
}

// get makes an HTTP request.
func (b *behind) get(when, family, addr string) {
	b.t.Helper()
	c, err := b.client.TryDial(family, addr, 3*time.Second)
	if err == nil {
		err = request(c)
		c.Close()
	}
	if err != nil {
		b.t.Errorf("%s: %s over %s: %v", when, addr, family, err)
	}
}

// ask sends a datagram and waits for the answer.
func (b *behind) ask(when, family, addr string) {
	b.t.Helper()
	c := b.client.Dial(udp(family), addr)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = c.Write([]byte("question"))
	if _, err := c.Read(make([]byte, 64)); err != nil {
		b.t.Errorf("%s: %s over %s: %v", when, addr, udp(family), err)
	}
}

// works uses all services but the one that nothing is to use.
func (b *behind) works(when string) {
	b.t.Helper()
	for _, family := range families {
		b.get(when, family, net.JoinHostPort(virtual[family], "80"))
		b.ask(when, family, net.JoinHostPort(virtual[family], "53"))
		b.get(when, family, net.JoinHostPort(map[string]string{"tcp4": "10.78.1.254", "tcp6": "fd78:1::fe"}[family], "30080"))
	}
}

// joined returns an error until there is one row for each kind of connection, and rules for them alone.
func (b *behind) joined() error {
	cs, rs := read[[]connection](b.program, "connections"), read[[]rule](b.program, "rules")
	n := 0
	for _, x := range cs {
		if x.From != "client" || x.To != "server" || x.Port != 8080 && x.Port != 5353 {
			return fmt.Errorf("%+v of\n%s", x, b.run("connections"))
		}
		n += x.Sessions
	}
	if n != 6 || len(cs) != 4 {
		return fmt.Errorf("%d rows, %d sessions, want 4 and 6:\n%s", len(cs), n, b.run("connections"))
	}
	for _, r := range rs {
		if r.From != "svc:default/client" || r.To != "svc:default/server" {
			return fmt.Errorf("%+v of\n%s", r, b.run("rules"))
		}
	}
	if len(rs) < 2 {
		return fmt.Errorf("rules\n%s", b.run("rules"))
	}
	return nil
}

// TestTranslatedServices: connections to addresses that the host translates are shown, learned and judged by
// where they go, once, also after a kill.
func TestTranslatedServices(t *testing.T) {
	b := newBehind(t)
	d := b.start()
	b.works("discover")
	until(t, 10*time.Second, "one row for each kind of connection", b.joined)
	if out := b.run("connections"); !strings.Contains(out, "by service address 10.96.0.10:53") || !strings.Contains(out, "by service address [fd96::10]:53") {
		t.Errorf("the services' addresses are not shown:\n%s", out)
	}
	b.run("mode", "set", "all", "protect")
	b.works("protect")
	for _, family := range families {
		if c, err := b.client.TryDial(family, net.JoinHostPort(virtual[family], "90"), time.Second); err == nil {
			c.Close()
			t.Errorf("a port that was never used is open over %s", family)
		}
	}
	d.kill()
	d = b.start()
	defer d.stop()
	b.works("after a kill")
	for _, v := range read[[]violation](b.program, "violations") {
		if v.Port != 90 {
			t.Errorf("%+v", v)
		}
	}
}
