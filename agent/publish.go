package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
)

// publish passes the state of Run's goroutine to the reporter. The policy version is reported only from
// here, when the attachments match that policy.
func (a *Agent) publish() {
	errs, attached := map[string]string{}, map[string]string{}
	at := a.attached.attacher
	list := make([]*controlv1.Workload, 0, len(a.attached.workloads))
	for _, id := range slices.Sorted(maps.Keys(a.attached.workloads)) {
		t := a.attached.workloads[id]
		for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
			e := t.endpoints[name]
			if e.absent {
				continue
			}
			if b := at.backendOf(t, e); b != "" {
				attached[id+"/"+name] = b
			}
			if text := at.wrong(t.ID, e); text != "" && errs[id] == "" && e.at.Kind != backend.Inline {
				errs[id] = text
			}
		}
		m := a.message(t)
		if p := a.policy.of(id); p != nil {
			m.Mode = modes[p.Mode()]
		}
		list = append(list, m)
	}
	warnings := a.warnings()
	r := a.report
	r.mu.Lock()
	same := func(a, b *controlv1.Workload) bool { return proto.Equal(a, b) }
	if a.begin.synced() && (r.workloads == nil || !slices.EqualFunc(list, r.workloads, same)) {
		r.workloads, r.fresh = list, true
	}
	if a.begin.synced() && a.hosts.settled() {
		a.begin.finish()
	}
	if t := a.policy.table; t != nil {
		r.policy = t.Version()
		if e, ok := a.cfg.Engine.(enforcer); ok {
			r.policy = min(r.policy, e.Enforced())
		}
	}
	r.errors, r.attached, r.warnings = errs, attached, warnings
	r.mu.Unlock()
	r.notify()
}

// modes maps the modes of core/policy to the API.
var modes = map[policy.Mode]controlv1.Mode{
	policy.Discover: controlv1.Mode_MODE_DISCOVER, policy.Monitor: controlv1.Mode_MODE_MONITOR, policy.Protect: controlv1.Mode_MODE_PROTECT,
}

// wrong returns why an endpoint is not attached as wanted; "" if it is.
func (a *attacher) wrong(id string, e *endpoint) string {
	if kind, _ := a.policy.wanted(id); e.err == "" && kind == backend.Inline && e.planned && e.plans[0].TapOnly {
		return e.plans[0].Note
	}
	return e.err
}

// message returns a workload in the form of the API.
func (a *Agent) message(t *tracked) *controlv1.Workload {
	c := a.policy.choice(t)
	m := &controlv1.Workload{Id: t.ID, Name: t.Name, Namespace: t.Namespace, Service: t.Service, Labels: t.Labels, Image: t.Image, Node: t.Node, Netns: t.NetNS,
		HostNet: t.HostNet, Source: t.Source, Group: t.Group(), Members: t.Members, Choice: cmp.Or(c.backend, policy.AutoBackend), ChosenBy: c.by,
		Note: strings.Join(append(a.hosts.notes(t), t.oddLabels()...), "; ")}
	for _, i := range t.Interfaces {
		if i.Name == loopback {
			continue
		}
		p := &controlv1.Interface{Name: i.Name, Index: int32(i.Index), Mac: i.MAC, Kind: i.Kind}
		for _, a := range i.Addresses {
			p.Addresses = append(p.Addresses, a.String())
		}
		for _, a := range i.LinkLocal {
			p.Addresses = append(p.Addresses, netip.PrefixFrom(a, a.BitLen()).String())
		}
		if e := t.endpoints[i.Name]; e != nil {
			a.attached.attacher.addEndpoint(t, e, p)
		}
		m.Interfaces = append(m.Interfaces, p)
	}
	if e := t.endpoints[loopback]; e != nil {
		p := &controlv1.Interface{Name: loopback, Index: int32(e.iface.Index), Kind: e.iface.Kind}
		a.attached.attacher.addEndpoint(t, e, p)
		m.Interfaces = append(m.Interfaces, p)
	}
	return m
}

// backendOf returns how an endpoint is attached, or the one that judges its frames; "" if it is not.
func (a *attacher) backendOf(t *tracked, e *endpoint) string {
	kind, _ := a.policy.wanted(t.ID)
	if j := t.judge(e, kind); j.at.Kind != backend.NoKind {
		return backendText(&j.at)
	}
	return ""
}

// addEndpoint adds how an endpoint is attached.
func (a *attacher) addEndpoint(t *tracked, e *endpoint, p *controlv1.Interface) {
	p.Note, p.Error = a.why(t, e), a.wrong(t.ID, e)
	p.Backend = a.backendOf(t, e)
	if text := t.insideNote(e); text != "" && p.Note != "" {
		p.Note += "; " + text
	} else if text != "" {
		p.Note = text
	}
	if t.bridges(e) {
		p.Note += "; what a bridge inside passes between it and other interfaces is dropped"
	}
	if e.stays != "" && inStack(&e.at) {
		p.Note += "; decided connections stay in the queue: " + e.stays
	}
}

// warnings returns sentences about unusable configuration and unavailable datapaths.
func (a *Agent) warnings() []string {
	out := a.notices.list()
	if n := len(a.hosts.watched); n > 0 {
		out = append(out, fmt.Sprintf("workloads in the host's network, of which there are %d: %s", n, a.hosts.watcher.Note()))
	}
	for _, id := range slices.Sorted(maps.Keys(a.attached.workloads)) {
		t := a.attached.workloads[id]
		for _, text := range t.oddLabels() {
			out = append(out, t.Name+": "+text)
		}
		for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
			e := t.endpoints[name]
			if e.err != "" && e.at.Kind == backend.Inline {
				out = append(out, t.Name+"/"+name+": "+e.err)
			}
			if text := e.movedNote(); text != "" {
				out = append(out, t.Name+": "+text)
			}
		}
	}
	out = append(out, a.attached.twins()...)
	out = append(out, a.repairs.brokenParts()...)
	a.notices.logNew(out)
	return out
}
