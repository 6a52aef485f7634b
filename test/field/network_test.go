package field

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluicenet/sluice/internal/netns"
)

// networkVerbs are the steps that change interfaces and addresses.
func networkVerbs() map[string]func(*runner, step) (*difference, error) {
	return map[string]func(*runner, step) (*difference, error){
		"nic":      network((*runner).nic),        // nic NODE: a second interface, on the other bridge
		"forward":  network((*runner).forward),    // forward NODE: it forwards packets, as far as its settings go
		"bridge":   network((*runner).bridge),     // bridge NODE: a bridge inside, with a namespace behind it
		"address":  network((*runner).address),    // address NODE eth0|lo: one more address of each family
		"take":     network((*runner).take),       // take NODE OTHER: NODE takes OTHER's added address
		"recreate": (*runner).recreate,            // recreate NODE [SERVICE]: a new namespace with the same addresses
		"trade":    (*runner).trade,               // trade NODE OTHER: both are made again, with each other's addresses
		"down":     network(link("down")),         // down NODE: eth0
		"up":       network(link("up")),           //
		"detour":   network((*runner).detour),     // detour NODE: default routes by its second interface
		"tunnel":   network((*runner).tunnel),     // tunnel NODE: a point-to-point interface to out
		"mac":      network((*runner).mac),        // mac NODE: eth0 gets another MAC address
		"port":     network((*runner).port),       // port NODE: its port leaves the bridge and returns
		"service":  (*runner).service,             // service: Sluice's service port is set down
		"backend":  command(2, (*runner).backend), // backend NODE nfqueue|afpacket|auto
	}
}

// network makes the step that changes something at a workload.
func network(do func(*runner, *node, step) error) func(*runner, step) (*difference, error) {
	return func(r *runner, s step) (*difference, error) {
		n := r.w.nodes[s.arg(0)]
		if n == nil || n.name == outside {
			return nil, nil
		}
		if err := do(r, n, s); err != nil {
			return nil, err
		}
		return nil, r.change(settleNetwork)
	}
}

// unknown makes no statement about flows any more that use an address.
func (r *runner) unknown(name, place string) {
	for _, f := range r.flows {
		if end := name + "/" + place; f.to == end || f.from == end {
			f.doubt = true
		}
	}
}

// forget makes every node ask for the MAC addresses of the others again.
func (r *runner) forget() error {
	for _, name := range append([]string{"host"}, r.w.living()...) {
		if err := r.w.ip(name, "neigh flush all"); err != nil {
			return err
		}
	}
	return nil
}

// living are the names of the workloads there are, in order.
func (w *world) living() (all []string) {
	for _, name := range names {
		if w.nodes[name] != nil {
			all = append(all, name)
		}
	}
	return all
}

func (r *runner) nic(n *node, _ step) error {
	if _, ok := n.places["2"]; ok {
		return nil
	}
	p := numbered(78, n.number)
	if err := r.w.ip("host", fmt.Sprintf("link add u%s type veth peer name eth1 netns %s", n.name, n.ns), fmt.Sprintf("link set u%s master br1 up", n.name)); err != nil {
		return err
	}
	n.places["2"] = p
	return r.w.ip(n.name, "link set eth1 up", fmt.Sprintf("address add %s/24 dev eth1", p[0]), fmt.Sprintf("address add %s/64 dev eth1 nodad", p[1]))
}

func (r *runner) forward(n *node, _ step) error {
	return r.w.sysctl(n.name, "net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1")
}

func (r *runner) bridge(n *node, _ step) error {
	inner := "in" + n.name
	if err := r.w.namespace(inner); err != nil {
		return nil //nolint:nilerr // it is there
	}
	return r.w.ip(n.name, "link add docker0 type bridge", "link set docker0 up", "link add vn type veth peer name eth0 netns "+r.w.prefix+inner, "link set vn master docker0 up")
}

func (r *runner) address(n *node, s step) error {
	place, p, dev := "x", numbered(77, 100+n.number), "eth0"
	if s.arg(1) == "lo" {
		place, p, dev = "lo", numbered(79, n.number), "lo"
	}
	if _, ok := n.places[place]; ok {
		return nil
	}
	n.places[place] = p
	if dev == "lo" {
		via := n.places[""]
		if err := r.w.ip("host", fmt.Sprintf("route replace %s via %s", p[0], via[0]), fmt.Sprintf("-6 route replace %s via %s", p[1], via[1])); err != nil {
			return err
		}
		return r.w.ip(n.name, fmt.Sprintf("address add %s/32 dev lo", p[0]), fmt.Sprintf("address add %s/128 dev lo nodad", p[1]))
	}
	return r.w.ip(n.name, fmt.Sprintf("address add %s/24 dev eth0", p[0]), fmt.Sprintf("address add %s/64 dev eth0 nodad", p[1]))
}

func (r *runner) take(n *node, s step) error {
	other := r.w.nodes[s.arg(1)]
	if other == nil || other == n {
		return nil
	}
	p, ok := other.places["x"]
	if _, has := n.places["y"]; !ok || has {
		return nil
	}
	delete(other.places, "x")
	r.unknown(other.name, "x")
	if err := r.w.ip(other.name, fmt.Sprintf("address delete %s/24 dev eth0", p[0]), fmt.Sprintf("address delete %s/64 dev eth0", p[1])); err != nil {
		return err
	}
	n.places["y"] = p
	if err := r.w.ip(n.name, fmt.Sprintf("address add %s/24 dev eth0", p[0]), fmt.Sprintf("address add %s/64 dev eth0 nodad", p[1])); err != nil {
		return err
	}
	return r.forget()
}

// drop ends a workload and the flows to and from it.
func (r *runner) drop(name string) error {
	r.c.forgive()
	for id, f := range r.flows {
		from, _, _ := strings.Cut(f.from, "/")
		to, _, _ := strings.Cut(f.to, "/")
		if from == name || to == name {
			f.c.Close()
			delete(r.flows, id)
		}
	}
	if err := r.w.remove(name); err != nil {
		return err
	}
	_ = netns.Delete(r.w.prefix + "in" + name)
	return nil
}

// remake makes workloads that were dropped, with numbers and services.
func (r *runner) remake(all ...*node) (*difference, error) {
	for _, n := range all {
		if err := r.w.workload(n.name, n.service, n.number); err != nil {
			return nil, err
		}
		if r.m.modes[n.service] == "" && r.d.cmd != nil {
			r.m.modes[n.service] = r.m.first
		}
	}
	if err := r.forget(); err != nil {
		return nil, err
	}
	return nil, r.change(settleNetwork)
}

func (r *runner) recreate(s step) (*difference, error) {
	n := r.w.nodes[s.arg(0)]
	if n == nil || n.name == outside {
		return nil, nil
	}
	service := s.arg(1)
	if service == "" {
		service = n.service
	}
	if err := r.drop(n.name); err != nil {
		return nil, err
	}
	if service != n.service {
		n.service = service
		r.w.nodes[n.name] = n // for describe alone
		err := r.d.describe()
		delete(r.w.nodes, n.name)
		if err != nil {
			return nil, err
		}
		time.Sleep(time.Second) // a new description applies half a second after the last write
	}
	return r.remake(n)
}

func (r *runner) trade(s step) (*difference, error) {
	a, b := r.w.nodes[s.arg(0)], r.w.nodes[s.arg(1)]
	if a == nil || b == nil || a == b || a.name == outside || b.name == outside {
		return nil, nil
	}
	for _, n := range []*node{a, b} {
		if err := r.drop(n.name); err != nil {
			return nil, err
		}
	}
	a.number, b.number = b.number, a.number
	return r.remake(a, b)
}

// link sets eth0 down or up.
func link(state string) func(*runner, *node, step) error {
	return func(r *runner, n *node, _ step) error {
		if n.up == (state == "up") {
			return nil
		}
		n.up = state == "up"
		if err := r.w.ip(n.name, "link set eth0 "+state); err != nil || !n.up {
			return err
		}
		return r.w.routes(n.name)
	}
}

func (r *runner) detour(n *node, _ step) error {
	if _, ok := n.places["2"]; !ok || !n.up {
		return nil
	}
	return r.w.ip(n.name, "route replace default via 10.78.0.254 dev eth1", "-6 route replace default via fd78::fe dev eth1")
}

func (r *runner) mac(n *node, _ step) error {
	if err := r.w.ip(n.name, fmt.Sprintf("link set eth0 address 02:00:00:%02x:%02x:%02x", r.at>>8, r.at&255, n.number)); err != nil {
		return err
	}
	return r.forget()
}

func (r *runner) port(n *node, _ step) error {
	return r.w.ip("host", fmt.Sprintf("link set v%s nomaster", n.name), fmt.Sprintf("link set v%s master br0", n.name))
}

// servicePort is the interface in the host's namespace by which frames return.
const servicePort = "sluice-svc"

func (r *runner) service(step) (*difference, error) {
	if !r.up() {
		return nil, nil
	}
	_ = r.w.ip("host", "link set "+servicePort+" down") // only where frames are steered
	return nil, r.change(settleNetwork)
}

func (r *runner) backend(s step) error {
	if n := r.w.nodes[s.arg(0)]; n == nil || n.name == outside {
		return nil
	}
	_, err := r.d.do("workloads", "backend", s.arg(0), s.arg(1))
	return err
}

// place is an address of a node to talk to: the first one, or one that a step may have added.
func (g *generator) place(node string) string {
	switch {
	case g.IntN(3) > 0:
		return node
	case node == outside:
		return node + "/t" + pick(g, names...)
	}
	return node + "/" + pick(g, "2", "2", "lo", "x", "y", "tun")
}

// network are the changes of interfaces and addresses.
func (g *generator) network() []choice {
	on := func(verb string, more ...string) func() {
		return func() {
			words := []any{verb, pick(g, names...)}
			if len(more) > 0 {
				words = append(words, pick(g, more...))
			}
			g.add(words...)
		}
	}
	return []choice{
		{5, true, on("nic")},
		{3, true, on("forward")},
		{3, true, on("bridge")},
		{5, true, on("address", "eth0", "lo")},
		{3, true, on("take", names...)},
		{2, true, on("recreate")},
		{2, true, on("recreate", "a", "b", "c", "z")},
		{3, true, on("trade", names...)},
		{1, true, on("down")},
		{3, true, on("up")},
		{3, true, on("detour")},
		{3, true, on("tunnel")},
		{2, true, on("mac")},
		{2, true, on("port")},
		{1, g.up(), func() { g.add("service") }},
		{6, g.up(), on("backend", "nfqueue", "nfqueue", "afpacket", "auto")},
	}
}
