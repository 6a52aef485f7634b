package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// generous is how long may pass for what takes a second or two on an idle machine.
const generous = 30 * time.Second

// scrape reads a process's metrics: samples by name and labels as Prometheus writes them.
func scrape(address string) (samples map[string]float64, text string, err error) {
	body, code, err := fetchURL("http://" + address + "/metrics")
	if err != nil || code != http.StatusOK {
		return nil, body, fmt.Errorf("status %d, %w: %s", code, err, body)
	}
	samples = map[string]float64{}
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if samples[line[:at]], err = strconv.ParseFloat(line[at+1:], 64); err != nil {
			return nil, body, fmt.Errorf("%s: %w", line, err)
		}
	}
	return samples, body, nil
}

func fetchURL(url string) (body string, code int, err error) {
	r, err := (&http.Client{Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		return "", 0, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), r.StatusCode, err
}

// freePort is an address without a listener.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// sum adds up the samples of a metric whose labels have all of these.
func sum(samples map[string]float64, metric string, labels ...string) (n float64) {
	for k, v := range samples {
		name, rest, _ := strings.Cut(k, "{")
		if name != metric {
			continue
		}
		all := true
		for _, l := range labels {
			all = all && strings.Contains(rest, l)
		}
		if all {
			n += v
		}
	}
	return n
}

// Datagrams of the test: header and payload, without a link header.
const (
	datagrams = 200
	payload   = 300
	onWire    = 20 + 8 + payload
)

// exchange sends datagrams to a port that sends each back, one after the other, so that no queue can be full. A
// socket is used for each of as many.
func exchange(t *testing.T, from, to *testnet.Workload, each int) {
	t.Helper()
	server := to.ListenPacket("udp4", to.Addr("udp4", 7000))
	defer server.Close()
	go func() {
		buf := make([]byte, payload)
		for {
			n, peer, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(buf[:n], peer)
		}
	}()
	var c net.Conn
	buf := make([]byte, payload)
	for i := range datagrams {
		if i%each == 0 {
			c = from.Dial("udp4", to.Addr("udp4", 7000))
			defer c.Close()
		}
		if err := c.SetDeadline(time.Now().Add(generous)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(buf); err != nil {
			t.Fatalf("datagram %d: %v", i, err)
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
}

// counted waits until the metrics say ok.
func counted(t *testing.T, address, what string, ok func(now map[string]float64) error) map[string]float64 {
	t.Helper()
	var now map[string]float64
	until(t, generous, what, func() (err error) {
		if now, _, err = scrape(address); err != nil {
			return err
		}
		return ok(now)
	})
	return now
}

// TestMetrics has real traffic pass taps, a service port and netfilter queues and compares what is
// counted with what was sent.
func TestMetrics(t *testing.T) {
	l := newLab(t)
	address := freePort(t)
	l.args = append(l.args, "--listen", address)
	d := l.start()
	exchange(t, l.web, l.api, datagrams) // learned
	l.learned()
	for _, c := range []struct {
		backend string
		link    int // bytes of the link header that count
		others  float64
		command []string
	}{
		// ARP, neighbour discovery and what else the link carries is seen, too.
		{"tap", 14, 60, nil},
		{"inline", 14, 60, []string{"mode", "set", "web", "api", "protect"}},
		{"nfqueue", 0, 60, []string{"workloads", "backend", "web", "nfqueue"}},
	} {
		t.Run(c.backend, func(t *testing.T) {
			l.countOne(t, address, c.backend, float64(onWire+c.link), c.others, c.command)
		})
	}
	l.denials(t, address)
	l.restarts(t, address)
	l.overflow(t, address, d)
	_, text, err := scrape(address)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "sluice_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	d.stop()
}

// countOne attaches web in one way and compares what it sends and receives with what is counted.
func (l *lab) countOne(t *testing.T, address, backend string, size, others float64, command []string) {
	t.Helper()
	if command != nil {
		l.run(command...)
	}
	at := func(m map[string]float64, metric, direction string) float64 {
		return sum(m, metric, `workload="web"`, `backend="`+backend+`"`, `direction="`+direction+`"`)
	}
	// What went before may be counted up to a second later.
	var before map[string]float64
	until(t, generous, "counters standing still", func() error {
		a, _, err := scrape(address)
		if err != nil {
			return err
		}
		time.Sleep(1200 * time.Millisecond)
		if before, _, err = scrape(address); err != nil {
			return err
		}
		for _, dir := range []string{"egress", "ingress"} {
			if at(a, "sluice_frames_total", dir) != at(before, "sluice_frames_total", dir) {
				return errors.New("still counting " + dir)
			}
		}
		return nil
	})
	each := datagrams
	if backend == "nfqueue" {
		each = 1 // what is decided leaves the queue and is counted no more
	}
	exchange(t, l.web, l.api, each)
	counted(t, address, "what was sent", func(now map[string]float64) error {
		for _, dir := range []string{"egress", "ingress"} {
			frames := at(now, "sluice_frames_total", dir) - at(before, "sluice_frames_total", dir)
			bytes := at(now, "sluice_bytes_total", dir) - at(before, "sluice_bytes_total", dir)
			if frames < datagrams || frames > datagrams+others || others == 0 && bytes != datagrams*size || bytes < datagrams*size {
				return fmt.Errorf("%s by %s: %v frames and %v bytes, want %d and %v", dir, backend, frames, bytes, datagrams, datagrams*size)
			}
		}
		if n := sum(now, "sluice_sessions", `workload="web"`, `backend="`+backend+`"`); n < 1 {
			return fmt.Errorf("%v sessions", n)
		}
		return nil
	})
}

// denials counts what is refused, and shows it in status.
func (l *lab) denials(t *testing.T, address string) {
	t.Helper()
	at := func(m map[string]float64) float64 {
		return sum(m, "sluice_verdicts_total", `workload="web"`, `verdict="deny"`)
	}
	before := counted(t, address, "verdicts", func(map[string]float64) error { return nil })
	l.refused("metrics", l.web, 9090)
	counted(t, address, "both families' connections denied", func(now map[string]float64) error {
		if n, drops := at(now)-at(before), sum(now, "sluice_drops_total", `workload="web"`, `cause="denied"`); n < 2 || drops < 2 {
			return fmt.Errorf("%v denied, %v frames dropped", n, drops)
		}
		return nil
	})
	until(t, generous, "status shows it", func() error {
		out := l.run("status")
		for _, want := range []string{"standalone", "enforced by every agent", "answers", "PLUGIN", "BACKEND", "WORKLOAD", "denied "} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in\n%s", want, out)
			}
		}
		return nil
	})
}

// statusJSON is what is looked at of `sluice status -o json`.
type statusJSON struct {
	Nodes []struct {
		Plugins []struct {
			Name, State string
			PID         int
		}
	}
}

// restarts kills the plugin.
func (l *lab) restarts(t *testing.T, address string) {
	t.Helper()
	pid := 0
	until(t, generous, "the plugin runs", func() error {
		st := read[statusJSON](l.program, "status")
		if len(st.Nodes) != 1 || len(st.Nodes[0].Plugins) != 1 || st.Nodes[0].Plugins[0].PID == 0 {
			return fmt.Errorf("%+v", st)
		}
		pid = st.Nodes[0].Plugins[0].PID
		return nil
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	counted(t, address, "the restart counted", func(now map[string]float64) error {
		up, n := now[`sluice_plugin_up{plugin="standard"}`], now[`sluice_plugin_restarts_total{plugin="standard"}`]
		if up != 1 || n < 1 {
			return fmt.Errorf("up %v, %v restarts", up, n)
		}
		return nil
	})
}

// overflow stops the daemon while a tapped workload sends more than its ring holds.
func (l *lab) overflow(t *testing.T, address string, d *daemon) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c := l.intruder.Dial("udp4", l.web.Addr("udp4", 7001))
	buf := make([]byte, 1400)
	for range 100_000 {
		_, _ = c.Write(buf) // no process listens there: an error is an answer to a previous one
	}
	c.Close()
	if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	counted(t, address, "the ring's losses counted", func(now map[string]float64) error {
		if n := sum(now, "sluice_drops_total", `workload="intruder"`, `backend="tap"`, `cause="ring_full"`); n == 0 {
			return errors.New("none")
		}
		return nil
	})
}

// TestMetricsErrors gives bad addresses to whoever has a metrics port.
func TestMetricsErrors(t *testing.T) {
	testnet.RequireRoot(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct{ address, want string }{
		"taken":     {taken.Addr().String(), "port taken: something listens on " + taken.Addr().String()},
		"no port":   {"127.0.0.1", "is not HOST:PORT"},
		"not here":  {"192.0.2.1:9", "this machine does not have the address 192.0.2.1:9"},
		"odd port":  {"127.0.0.1:no", "there is no port"},
		"large one": {"127.0.0.1:99999", "127.0.0.1:99999"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProgram(t)
			out, err := exitOf(p.launch("--netns", "sltest-none*", "--listen", c.address))
			if err == nil || !strings.Contains(out, c.want) || !strings.Contains(out, "--listen") {
				t.Errorf("got %v, %s; want %q", err, out, c.want)
			}
		})
	}
}
