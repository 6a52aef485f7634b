package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// shownWorkload is what `sluice workloads` says.
type shownWorkload struct {
	ID, Name, Group, Mode, Source, Note string
	HostNet                             bool `json:"host_net"`
	Interfaces                          []struct{ Name, Backend, Note string }
}

// yard is a Docker daemon with two containers that talk: web calls api over HTTP.
type yard struct {
	*program
	docker   *testnet.Docker
	host     *testnet.NS
	web, api string
	to       map[string]string // api's HTTP address, by family
}

func newYard(t *testing.T) *yard {
	t.Helper()
	testnet.RequireDocker(t)
	n := testnet.New(t)
	y := &yard{host: n.Namespace("host"), to: map[string]string{}}
	y.docker = n.Docker(y.host)
	y.api = y.docker.Run(testnet.Container{Name: "api1", Command: []string{"/bin/busybox", "httpd", "-f", "-p", "8080"},
		Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "api"}})
	y.web = y.docker.Run(testnet.Container{Name: "web", Command: []string{"/bin/sleep", "600"}})
	var c struct {
		NetworkSettings struct{ IPAddress, GlobalIPv6Address string }
	}
	if err := json.Unmarshal(y.docker.Do("GET", "/containers/"+y.api+"/json", nil), &c); err != nil {
		t.Fatal(err)
	}
	y.to["tcp4"], y.to["tcp6"] = net.JoinHostPort(c.NetworkSettings.IPAddress, "8080"), net.JoinHostPort(c.NetworkSettings.GlobalIPv6Address, "8080")
	y.program = newProgram(t, "--docker", "unix://"+y.docker.Socket, "--netns", "sltest-none-*")
	return y
}

// address is the IPv4 address of a container.
func (y *yard) address(id string) string {
	y.t.Helper()
	var c struct{ NetworkSettings struct{ IPAddress string } }
	if err := json.Unmarshal(y.docker.Do("GET", "/containers/"+id+"/json", nil), &c); err != nil {
		y.t.Fatal(err)
	}
	return c.NetworkSettings.IPAddress
}

// get asks api from inside of a container.
func (y *yard) get(from, family string) error {
	c, err := y.docker.NS(from).TryDial(family, y.to[family], 3*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	b := make([]byte, 12)
	if _, err := c.Read(b); err != nil {
		return err
	}
	if !strings.HasPrefix(string(b), "HTTP/1.") {
		return fmt.Errorf("answer %q", b)
	}
	return nil
}

// shown waits until the containers that run are attached as they should be.
func (y *yard) shown(names []string, mode, backend string) {
	y.t.Helper()
	until(y.t, 10*time.Second, strings.Join(names, ", ")+" in "+mode+" by "+backend, func() error {
		ws := read[[]shownWorkload](y.program, "workloads")
		for _, name := range names {
			i := slices.IndexFunc(ws, func(w shownWorkload) bool { return w.Name == name })
			if i < 0 || ws[i].Mode != mode || ws[i].Source != "docker" || len(ws[i].Interfaces) != 1 || ws[i].Interfaces[0].Backend != backend {
				return fmt.Errorf("workloads %+v", ws)
			}
		}
		return nil
	})
}

// from waits until a connection from a workload to api is listed.
func (y *yard) from(name string) {
	y.t.Helper()
	until(y.t, 5*time.Second, "a connection of "+name, func() error {
		cs := read[[]connection](y.program, "connections")
		if slices.ContainsFunc(cs, func(c connection) bool { return c.From == name && c.To == "api1" && c.Port == 8080 && c.Sessions > 0 }) {
			return nil
		}
		return fmt.Errorf("connections %+v", cs)
	})
}

// links lists what an agent could leave behind in the host's namespace and the containers'.
func (y *yard) links() []string {
	y.t.Helper()
	return linksOf(y.host, y.docker.NS(y.web), y.docker.NS(y.api))
}

func (y *yard) works(when, from string) {
	y.t.Helper()
	for _, family := range families {
		if err := y.get(from, family); err != nil {
			y.t.Fatalf("%s, %s: %v", when, family, err)
		}
	}
}

// TestDocker takes real containers through tap, inline and back.
func TestDocker(t *testing.T) {
	y := newYard(t)
	before := y.links()
	d := y.start()
	y.shown([]string{"web", "api1"}, "discover", "tap")
	y.works("discover", y.web)
	y.from("web")
	quick := y.docker.Run(testnet.Container{Name: "quick", Command: []string{"/bin/wget", "-q", "-O", "/dev/null", "http://" + y.to["tcp4"] + "/"}})
	y.from("quick")
	y.docker.Remove(quick)
	until(t, 5*time.Second, "rules learned", func() error {
		rs := read[[]rule](y.program, "rules")
		for _, from := range []string{"svc:default/web", "svc:default/quick"} {
			if !slices.ContainsFunc(rs, func(r rule) bool { return r.From == from && r.To == "svc:shop/api" && slices.Contains(r.Apps, "http") }) {
				return fmt.Errorf("none from %s in %+v", from, rs)
			}
		}
		if slices.ContainsFunc(rs, func(r rule) bool { return r.From == "unmanaged" }) {
			return fmt.Errorf("one from unmanaged in %+v", rs)
		}
		return nil
	})

	intruder := y.docker.Run(testnet.Container{Name: "intruder", Command: []string{"/bin/sleep", "600"}})
	y.shown([]string{"intruder"}, "discover", "tap")
	y.run("mode", "set", "all", "protect")
	y.shown([]string{"web", "api1", "intruder"}, "protect", "inline")
	y.works("protect", y.web)
	for _, family := range families {
		if err := y.get(intruder, family); err == nil {
			t.Errorf("%s: intruder was let through", family)
		}
	}
	y.docker.Do("POST", "/containers/"+y.web+"/restart", nil)
	y.shown([]string{"web", "api1"}, "protect", "inline")
	until(t, 5*time.Second, "web is let through after its restart", func() error { return errors.Join(y.get(y.web, "tcp4"), y.get(y.web, "tcp6")) })
	y.docker.Remove(intruder)

	y.run("mode", "set", "all", "discover")
	y.shown([]string{"web", "api1"}, "discover", "tap")
	y.works("discover again", y.web)
	d.stop()
	after := y.links()
	slices.Sort(before)
	slices.Sort(after)
	if b, a := blind(before), blind(after); !slices.Equal(b, a) {
		t.Errorf("left behind:\n%s\nbefore:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	y.works("at the end", y.web)
}

// blind hides the names that Docker makes up for the ends of veths, new with each start of a container.
func blind(links []string) []string {
	out := make([]string, 0, len(links))
	for _, l := range links {
		name, rest, _ := strings.Cut(l, " ")
		if strings.HasPrefix(name, "veth") {
			name = "veth"
		}
		out = append(out, name+" "+rest)
	}
	slices.Sort(out)
	return out
}

// TestDockerHostNetwork watches a container in its host's network, whose short connections are learned,
// reported and never refused.
func TestDockerHostNetwork(t *testing.T) {
	y := newYard(t)
	y.start()
	y.docker.Run(testnet.Container{Name: "hosty", Network: "host", Command: []string{"/bin/sh", "-c", "while sleep 0.1; do wget -q -O /dev/null http://" + y.to["tcp4"] + "/; done"}})
	y.from("hosty")
	until(t, 5*time.Second, "a rule learned", func() error {
		rs := read[[]rule](y.program, "rules")
		if slices.ContainsFunc(rs, func(r rule) bool { return r.From == "svc:default/hosty" && r.To == "svc:shop/api" }) {
			return nil
		}
		return fmt.Errorf("rules %+v", rs)
	})
	if out := y.run("mode", "set", "hosty", "protect"); !strings.Contains(out, "watched, never refused: host network") {
		t.Errorf("mode set says %q, which is not that nothing is refused", out)
	}
	ws := read[[]shownWorkload](y.program, "workloads")
	i := slices.IndexFunc(ws, func(w shownWorkload) bool { return w.Name == "hosty" })
	if i < 0 || !ws[i].HostNet || ws[i].Mode != "protect" || !strings.HasPrefix(ws[i].Note, "watched, never refused") {
		t.Errorf("workloads %+v, want hosty with its note", ws)
	}
	for _, r := range read[[]rule](y.program, "rules") {
		if r.From == "svc:default/hosty" {
			y.run("rules", "delete", fmt.Sprint(r.ID))
		}
	}
	until(t, 5*time.Second, "violations", func() error {
		vs := read[[]violation](y.program, "violations")
		if slices.ContainsFunc(vs, func(v violation) bool { return v.From == "hosty" && v.Port == 8080 && v.Verdict == "violate" }) {
			return nil
		}
		return fmt.Errorf("violations %+v", vs)
	})
	if slices.ContainsFunc(read[[]violation](y.program, "violations"), func(v violation) bool { return v.From == "hosty" && v.Verdict == "deny" }) {
		t.Error("a connection of the host's network was refused")
	}
}
