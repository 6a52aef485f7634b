package main

import (
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

// statusView is the JSON of `sluice status`. Fields are added and never renamed.
type statusView struct {
	Role        string            `json:"role"` // standalone, controller, agent
	Version     string            `json:"version"`
	Started     string            `json:"started"`
	Policy      uint64            `json:"policy"` // compiled; of an agent alone, wanted
	Store       string            `json:"store"`
	StoreState  *storeView        `json:"store_state"` // null where unknown
	Workloads   uint64            `json:"workloads"`
	Groups      uint64            `json:"groups"`
	Rules       uint64            `json:"rules"`
	Connections uint64            `json:"connections"`
	Sessions    uint64            `json:"sessions"`
	Violations  uint64            `json:"violations"`
	Threats     uint64            `json:"threats"`
	Unjudged    uint64            `json:"unjudged"`        // frames that went by without a verdict
	Recent      bool              `json:"unjudged_lately"` // some of them within the last minutes
	Dropped     map[string]uint64 `json:"dropped"`
	Backlog     uint64            `json:"backlog"`
	Warnings    []string          `json:"warnings"` // of the controller
	Controllers []controllerView  `json:"controllers"`
	Nodes       []nodeView        `json:"nodes"`
}

type storeView struct {
	Name      string `json:"name"`
	Reachable bool   `json:"reachable"`
	Revision  uint64 `json:"revision"`
	Leader    string `json:"leader"`
	Error     string `json:"error"`
	Checked   string `json:"checked"`
}

type controllerView struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Version  string `json:"version"`
	State    string `json:"state"` // leader, standby, away, refused; of an agent alone: in use, not in use, does not answer
	Started  string `json:"started"`
	LastSeen string `json:"last_seen"`
	// Rivals are others that were refused its name lately.
	Rivals []ownerView `json:"rivals"`
}

// ownerView is a run of an agent or controller that has a name, or wanted it.
type ownerView struct {
	Run     string `json:"run"`
	Machine string `json:"machine"`
	Address string `json:"address"`
	Version string `json:"version"`
	Started string `json:"started"`
	Until   string `json:"until"` // when its lease ends if it is not renewed
}

func viewOwner(o *controlv1.Owner) *ownerView {
	if o == nil {
		return nil
	}
	return &ownerView{o.Run, clean(o.Machine), clean(o.Address), o.Version, stamp(o.Started), stamp(o.Until)}
}

func viewRivals(list []*controlv1.Owner) []ownerView {
	out := []ownerView{}
	for _, o := range list {
		out = append(out, *viewOwner(o))
	}
	return out
}

// policyView is the policy of a node.
type policyView struct {
	Policy uint64    `json:"policy"` // enforced
	Wanted uint64    `json:"wanted"`
	Held   *heldView `json:"held"` // null while it enforces the store's policy
}

type nodeView struct {
	Node    string      `json:"node"`
	Phase   string      `json:"phase"` // owner, refused, away
	Owner   *ownerView  `json:"owner"` // null where unknown
	Rivals  []ownerView `json:"rivals"`
	Version string      `json:"version"`
	policyView
	Started   string            `json:"started"`
	LastSeen  string            `json:"last_seen"`
	Away      bool              `json:"away"`
	Ready     bool              `json:"ready"`
	Parsers   string            `json:"parsers"`
	Errors    map[string]string `json:"errors"`
	Warnings  []string          `json:"warnings"` // what users gave and what cannot be used of it
	Store     *storeView        `json:"store_state"`
	Uplink    uplinkView        `json:"uplink"`
	Plugins   []pluginView      `json:"plugins"`
	Queues    []queueView       `json:"queues"`
	Workloads []trafficView     `json:"workloads"`
	Counters  map[string]uint64 `json:"counters"`
}

// heldView is a policy that an agent holds, because the store lost it.
type heldView struct {
	Policy  uint64 `json:"policy"`
	Offered uint64 `json:"offered"`
	Reason  string `json:"reason"`
}

func viewHeld(h *controlv1.HeldPolicy) *heldView {
	if h == nil {
		return nil
	}
	return &heldView{h.Version, h.Offered, clean(h.Reason)}
}

type uplinkView struct {
	Controller string            `json:"controller"`
	Answers    bool              `json:"answers"`
	LastReport string            `json:"last_report"`
	Backlog    uint64            `json:"backlog"`
	Sent       uint64            `json:"sent"`
	Retries    uint64            `json:"retries"`
	Dropped    map[string]uint64 `json:"dropped"`
}

type pluginView struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	User      string `json:"user"`
	PID       uint32 `json:"pid"`
	State     string `json:"state"`
	Restarts  uint64 `json:"restarts"`
	Items     uint64 `json:"items"`
	Protocols uint32 `json:"protocols"`
	Since     string `json:"since"`
	LastError string `json:"last_error"`
	Panics    uint64 `json:"panics"`
	// Apps are the names of its protocols.
	Apps    []string `json:"apps"`
	Warning string   `json:"warning"` // what is wrong and what to do; "" while nothing is
	Away    bool     `json:"away"`    // sessions may be unidentified because it does not run
}

type queueView struct {
	Backend   string            `json:"backend"`
	Workload  string            `json:"workload"` // id; "" where all workloads of the backend share it
	Interface string            `json:"interface"`
	Queues    uint32            `json:"queues"`
	Waiting   uint64            `json:"waiting"`
	Fill      float64           `json:"fill"`
	Received  uint64            `json:"received"`
	Sent      uint64            `json:"sent"`
	Dropped   map[string]uint64 `json:"dropped"`
	Bypassed  map[string]uint64 `json:"bypassed"`
}

type trafficView struct {
	Workload  string            `json:"workload"` // id
	Name      string            `json:"name"`
	Group     string            `json:"group"`
	Mode      string            `json:"mode"`
	Interface string            `json:"interface"`
	Backend   string            `json:"backend"`
	FramesOut uint64            `json:"frames_out"`
	FramesIn  uint64            `json:"frames_in"`
	BytesOut  uint64            `json:"bytes_out"`
	BytesIn   uint64            `json:"bytes_in"`
	Verdicts  map[string]uint64 `json:"verdicts"`
	Dropped   map[string]uint64 `json:"dropped"`
	Held      uint64            `json:"held"`
	Opened    uint64            `json:"sessions_opened"`
	Sessions  uint64            `json:"sessions"`
	Evicted   uint64            `json:"sessions_evicted"`
}

// statusOf makes the view of what a process answered; workloads give ids their names and modes.
func (c *cli) statusOf(st *controlv1.StatusResponse, workloads []*controlv1.Workload) statusView {
	v := statusView{Role: st.Role, Version: st.Version, Started: stamp(st.Started), Policy: st.Policy, Store: st.Store, StoreState: viewStore(st.StoreState),
		Workloads: st.Workloads, Groups: st.Groups, Rules: st.Rules, Connections: st.Connections, Sessions: st.Sessions, Violations: st.Violations, Threats: st.Threats, Unjudged: st.Unjudged,
		Dropped: orEmpty(st.Dropped), Backlog: st.Backlog, Warnings: list(st.Warnings), Controllers: []controllerView{}, Nodes: []nodeView{}}
	for _, x := range st.Controllers {
		v.Controllers = append(v.Controllers, controllerView{x.Name, x.Address, x.Version, controllerState(st, x), stamp(x.Started), stamp(x.LastSeen), viewRivals(x.Rivals)})
	}
	byID := map[[2]string]*controlv1.Workload{}
	for _, w := range workloads {
		byID[[2]string{w.Node, w.Id}] = w
	}
	for _, n := range st.Nodes {
		v.Nodes = append(v.Nodes, c.viewNode(n, func(id string) *controlv1.Workload { return byID[[2]string{n.Node, id}] }))
	}
	return v
}

// controllerState is what a controller does; of those that an agent alone knows, whether it uses it.
func controllerState(st *controlv1.StatusResponse, x *controlv1.ControllerState) string {
	if st.Role != roleAgent || len(st.Nodes) == 0 {
		return vocab.Text(x.Phase)
	}
	u := st.Nodes[0].GetState().GetUplink()
	switch {
	case u.GetController() != x.Address:
		return "not in use"
	case !u.GetAnswers():
		return "does not answer"
	}
	return "in use"
}

func viewStore(s *controlv1.StoreState) *storeView {
	if s == nil {
		return nil
	}
	return &storeView{s.Name, s.Reachable, s.Revision, s.Leader, s.Error, stamp(s.Checked)}
}

func (c *cli) viewNode(n *controlv1.NodeStatus, workload func(id string) *controlv1.Workload) nodeView {
	s := n.State
	u := s.GetUplink()
	v := nodeView{Node: n.Node, Phase: vocab.Text(n.Phase), Owner: viewOwner(n.Owner), Rivals: viewRivals(n.Rivals), Version: n.Version, policyView: policyView{n.Policy, n.Wanted, viewHeld(n.Held)}, Started: stamp(n.Started), LastSeen: stamp(n.LastSeen), Away: away(n, c.out.now()),
		Ready: s.GetReady(), Parsers: s.GetParsers(), Errors: orEmpty(n.WorkloadErrors), Warnings: list(n.Warnings), Store: viewStore(s.GetStore()),
		Uplink:  uplinkView{u.GetController(), u.GetAnswers(), stamp(u.GetLastReport()), u.GetBacklog(), u.GetSent(), u.GetRetries(), orEmpty(u.GetDropped())},
		Plugins: []pluginView{}, Queues: []queueView{}, Workloads: []trafficView{}, Counters: orEmpty(n.Counters)}
	for _, p := range s.GetPlugins() {
		v.Plugins = append(v.Plugins, viewPlugin(p))
	}
	for _, q := range s.GetQueues() {
		v.Queues = append(v.Queues, queueView{q.Backend, q.Workload, q.Interface, q.Queues, q.Waiting, q.Fill, q.Received, q.Sent, orEmpty(q.Dropped), orEmpty(q.Bypassed)})
	}
	for _, t := range s.GetTraffic() {
		w := workload(t.Workload)
		name := w.GetName()
		if name == "" {
			name = t.Workload
		}
		v.Workloads = append(v.Workloads, trafficView{t.Workload, name, w.GetGroup(), vocab.Text(w.GetMode()), t.Interface, t.Backend, t.FramesOut, t.FramesIn, t.BytesOut, t.BytesIn,
			orEmpty(t.Verdicts), orEmpty(t.Dropped), t.Held, t.Opened, t.Sessions, t.Evicted})
	}
	return v
}
