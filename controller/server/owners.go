package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/owner"
)

// keyOwners holds the run that owns a node's name, so that a controller that takes the lead
// knows it. It is written when the owner changes, not when a lease is renewed.
const keyOwners = "owner/"

func ownerKey(node string) string { return keyOwners + url.PathEscape(node) }

// RegisterNode gives a node's name to a run of an agent, renews that, or takes it back.
func (c *collector) RegisterNode(ctx context.Context, r *controlv1.RegisterNodeRequest) (*controlv1.RegisterNodeResponse, error) {
	if err := checkNode(r.Node); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if r.Self.GetRun() == "" || len(r.Self.Run) > maxName {
		return nil, status.Errorf(codes.InvalidArgument, "node %s: a registration needs the run of its agent, 1 to %d bytes", r.Node, maxName)
	}
	if r.Release {
		c.s.release(r.Node, r.Self.Run)
		return &controlv1.RegisterNodeResponse{}, nil
	}
	claim := owner.Claim{Previous: r.Previous, Run: owner.Run{ID: r.Self.Run, Machine: clip(r.Self.Machine), Version: clip(r.Self.Version), Boot: clip(r.Boot),
		Started: r.Self.Started, Address: callerAddress(ctx)}}
	res, err := c.s.claim(r.Node, claim)
	if err == nil && res.Changed {
		err = c.s.flush(ctx) // before the agent relies on it
	}
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "owner of node %s not stored: %v", r.Node, err)
	}
	return &controlv1.RegisterNodeResponse{Granted: res.Granted, Owner: ownerMessage(&res.Owner), RenewWithin: int64(owner.Lease)}, nil
}

// clip bounds the strings of an agent.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxName)], "") }

// callerAddress returns the host that a call came from, "" where that is this process.
func callerAddress(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return ""
	}
	return host
}

// claim asks the registry and follows up on what changed.
func (s *Server) claim(node string, c owner.Claim) (owner.Result, error) {
	before, _ := s.owners.Owner(node)
	res := s.owners.Claim(node, c)
	switch {
	case res.Changed:
		switch {
		case before.ID == "":
		case res.Successor:
			s.log.Info("agent restarted, the run before was killed or crashed", "node", node, "machine", c.Machine, "address", c.Address)
			s.announce(node, fmt.Sprintf("the agent of node %s on %s was restarted: the run before was killed or crashed", node, describe(&c.Run)))
		default:
			s.log.Warn("node has a new agent", "node", node, "machine", c.Machine, "address", c.Address, "before", before.Machine)
			s.announce(node, fmt.Sprintf("the name of node %s went from the agent on %s, which no longer answers, to the one on %s", node, describe(&before.Run), describe(&c.Run)))
		}
		return res, s.storeOwner(node, &c.Run)
	case res.NewRival:
		s.log.Error("agent refused: another one owns its node's name", "node", node, "machine", c.Machine, "address", c.Address, "owner", res.Owner.Machine, "owner_address", res.Owner.Address)
		s.announce(node, fmt.Sprintf("an agent on %s uses the name of node %s, which the agent on %s owns: it is refused until that one ends; give one of them another --node and certificate",
			describe(&c.Run), node, describe(&res.Owner.Run)))
	}
	return res, nil
}

// describe returns the name of a run for display.
func describe(r *owner.Run) string {
	text := r.Machine
	if text == "" {
		text = "an unknown machine"
	}
	if r.Address != "" {
		text += " (" + r.Address + ")"
	}
	return text
}

// announce publishes an event about a node.
func (s *Server) announce(node, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(controlv1.EventKind_EVENT_KIND_NODE, node, text)
}

// storeOwner has the owner of a node's name stored with the next apply.
func (s *Server) storeOwner(node string, r *owner.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark(ownerKey(node), r)
}

// release takes a name back from a run that ends.
func (s *Server) release(node, run string) {
	if !s.owners.Release(node, run) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty[ownerKey(node)] = deleteKey(ownerKey(node))
	s.kick()
}

// admit reports as an error that a run does not own its node's name. A run that is not
// registered gets it if it is free. A report without a run is one of an agent that
// knows no owners: it counts where no owner is known.
func (s *Server) admit(ctx context.Context, node, run string) error {
	if run == "" {
		if h, live := s.owners.Owner(node); live {
			return refused(node, &h)
		}
		return nil
	}
	res, err := s.claim(node, owner.Claim{Run: owner.Run{ID: run, Address: callerAddress(ctx)}})
	if err != nil {
		return status.Errorf(codes.Unavailable, "owner of node %s not stored: %v", node, err)
	}
	if !res.Granted {
		if res.Successor {
			return status.Errorf(codes.FailedPrecondition, "the lease of the previous run on node %s has not ended: it ends within %s", node, owner.SuccessorLease)
		}
		return refused(node, &res.Owner)
	}
	return nil
}

func refused(node string, h *owner.Holding) error {
	since := ""
	if h.Started != 0 {
		since = ", started " + time.Unix(0, h.Started).UTC().Format(time.RFC3339)
	}
	return status.Errorf(codes.FailedPrecondition, "the name of node %s belongs to the agent on %s%s: end that one, or give this one another --node and certificate",
		node, describe(&h.Run), since)
}

// loadOwners reads who owned the nodes' names when the controller before ended.
func (s *Server) loadOwners(ctx context.Context) error {
	if s.cfg.Sole {
		return nil
	}
	list, _, err := s.st.List(ctx, keyOwners)
	if err != nil {
		return err
	}
	for _, o := range list {
		node, err := url.PathUnescape(strings.TrimPrefix(o.Key, keyOwners))
		if err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		var r owner.Run
		if err := json.Unmarshal(o.Value, &r); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		s.owners.Restore(node, r)
	}
	return nil
}

func ownerMessage(h *owner.Holding) *controlv1.Owner {
	if h.ID == "" {
		return nil
	}
	return &controlv1.Owner{Run: h.ID, Machine: h.Machine, Address: h.Address, Version: h.Version, Started: h.Started, Until: h.Until.UnixNano()}
}

// rivalMessages returns the runs that were refused a node's name lately.
func (s *Server) rivalMessages(node string) []*controlv1.Owner {
	var out []*controlv1.Owner
	for _, r := range s.owners.Rivals(node) {
		out = append(out, &controlv1.Owner{Run: r.ID, Machine: r.Machine, Address: r.Address, Version: r.Version, Started: r.Started, Until: r.At.UnixNano()})
	}
	return out
}

// ownerInto fills who owns a node's name into its status.
func (s *Server) ownerInto(ns *controlv1.NodeStatus) {
	h, live := s.owners.Owner(ns.Node)
	ns.Owner, ns.Rivals = ownerMessage(&h), s.rivalMessages(ns.Node)
	switch {
	case live:
		ns.Phase = controlv1.AgentPhase_AGENT_PHASE_OWNER
	case h.ID != "" || ns.LastSeen != 0:
		ns.Phase = controlv1.AgentPhase_AGENT_PHASE_AWAY
	}
}

// rivalsEvery is how often the controllers that share the store are looked at for rivals.
const rivalsEvery = 3 * time.Second

// announceRivals makes an event of each controller that was refused a name since the last call.
// known has those before, by run.
func announceRivals(s *Server, known map[string]bool) {
	if s.cfg.Outlook.Controllers == nil {
		return
	}
	for _, c := range s.cfg.Outlook.Controllers() {
		for _, r := range c.Rivals {
			if known[r.Run] {
				continue
			}
			known[r.Run] = true
			s.announce(c.Name, fmt.Sprintf("a controller on %s (%s) uses the name %s, which the one at %s owns: it was refused; give it another --name and certificate", r.Machine, r.Address, c.Name, c.Address))
		}
	}
}
