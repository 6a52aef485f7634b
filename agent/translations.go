package agent

import (
	"net/netip"
	"time"

	"github.com/sluicenet/sluice/agent/translate"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
)

// adoptServicesEvery is the least time between two policies that differ in translated addresses alone.
const adoptServicesEvery = time.Second

// translations are the translated destinations of the workloads' connections.
type translations struct{ resolver *translate.Resolver }

// watch has the namespaces watched in which the hosts' ends of interfaces are: there the
// destinations of the workloads' connections are translated.
func (x *translations) watch(a *attachments) {
	seen := map[string]bool{"": true}
	paths := []string{""}
	for _, t := range a.workloads {
		for _, e := range t.endpoints {
			for i := range e.plans {
				h := &e.plans[i].Hook
				if h.Side == backend.HostSide && !seen[h.NetNS] {
					seen[h.NetNS] = true
					paths = append(paths, h.NetNS)
				}
			}
		}
	}
	x.resolver.Watch(paths)
}

// server replaces the destination of a record by where its connection goes, and returns the
// destination as an attribute; nil where it is not translated.
func (x *translations) server(f *flow.Record) *flow.Detail {
	addr, port, ok := x.resolver.Server(f)
	if !ok {
		return nil
	}
	service := netip.AddrPortFrom(f.Server.Netip(), f.ServerPort).String()
	f.Server, f.ServerPort = addr, port
	return &flow.Detail{Attrs: []flow.Pair{{Key: "service", Value: service}}}
}
