package server

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
)

// Bounds on one agent's report.
const (
	maxWorkloads  = 10_000
	maxInterfaces = 64
	maxAddresses  = 256
	maxName       = 253
)

// ReportWorkloads replaces the workloads of a node.
func (c *collector) ReportWorkloads(ctx context.Context, r *controlv1.ReportWorkloadsRequest) (*controlv1.ReportWorkloadsResponse, error) {
	members, own, err := newMembers(r)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := c.s.admit(ctx, r.Node, r.Run); err != nil {
		return nil, err
	}
	if err := c.setWorkloads(r.Node, members, own); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	c.setShown(r)
	return &controlv1.ReportWorkloadsResponse{}, nil
}

// setShown stores how an agent reports its workloads to be attached. It is not part of the workloads, so
// that no new policy is made because of it.
func (c *collector) setShown(r *controlv1.ReportWorkloadsRequest) {
	s := c.s
	shown := make(map[string]*controlv1.Workload, len(r.Workloads))
	for _, w := range r.Workloads {
		shown[w.Id] = w
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dir.node(r.Node)
	n.shown, n.digest = shown, r.Digest
}

// newMembers checks an agent's report of its workloads and of its node's own addresses.
func newMembers(r *controlv1.ReportWorkloadsRequest) (members []*member, own []netip.Addr, err error) {
	if err := checkNode(r.Node); err != nil {
		return nil, nil, err
	}
	if len(r.Workloads) > maxWorkloads || len(r.NodeAddresses) > maxWorkloads {
		return nil, nil, fmt.Errorf("node %s: more than %d workloads or addresses", r.Node, maxWorkloads)
	}
	seen := make(map[string]bool, len(r.Workloads))
	for _, w := range r.Workloads {
		m, err := newMember(r.Node, w)
		if err == nil && seen[w.Id] {
			err = fmt.Errorf("workload %q is listed twice", w.Id)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("node %s: %w", r.Node, err)
		}
		seen[w.Id] = true
		members = append(members, m)
	}
	for _, text := range r.NodeAddresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, nil, fmt.Errorf("node %s: address %q is not an IP address", r.Node, text)
		}
		own = append(own, a.Unmap().WithZone(""))
	}
	slices.SortFunc(own, netip.Addr.Compare)
	return members, own, nil
}

func checkNode(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("the node's name must have 1 to %d bytes", maxName)
	}
	return nil
}

// newMember checks an agent's report of a workload.
func newMember(node string, w *controlv1.Workload) (*member, error) {
	if w.GetId() == "" || w.Name == "" || len(w.Id) > maxName || len(w.Name) > maxName || len(w.Namespace) > maxName || len(w.Service) > maxName {
		return nil, fmt.Errorf("workload %.64q: id and name must have 1 to %d bytes, namespace and service no more", w.GetId(), maxName)
	}
	if len(w.Interfaces) > maxInterfaces {
		return nil, fmt.Errorf("workload %q: more than %d interfaces", w.Id, maxInterfaces)
	}
	w = proto.CloneOf(w)
	if w.Namespace == "" {
		w.Namespace = "default"
	}
	if w.Service == "" {
		w.Service = w.Name
	}
	w.Node, w.Group, w.Mode = node, model.ServiceGroup(w.Namespace, w.Service), 0
	w.Note, w.Choice, w.ChosenBy = "", "", ""
	if err := model.CheckName(w.Group); err != nil {
		return nil, fmt.Errorf("workload %q: %w", w.Id, err)
	}
	m := &member{node: node, group: w.Group, workload: w, policy: model.Workload{
		ID: w.Id, Name: w.Name, Namespace: w.Namespace, Service: w.Service, Labels: w.Labels, Node: node, HostNet: w.HostNet}}
	for _, i := range w.Interfaces {
		if len(i.Addresses) > maxAddresses {
			return nil, fmt.Errorf("workload %q: interface %s has more than %d addresses", w.Id, i.Name, maxAddresses)
		}
		i.Backend, i.Note, i.Error = "", "", ""
		for _, text := range i.Addresses {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("workload %q: %q is not an address with its prefix length", w.Id, text)
			}
			m.policy.Addresses = append(m.policy.Addresses, netip.PrefixFrom(p.Addr().Unmap().WithZone(""), p.Bits()))
		}
	}
	return m, nil
}

// sameMembers reports whether a node has exactly these workloads and addresses already.
func (n *node) sameMembers(members []*member, own []netip.Addr) bool {
	if len(members) != len(n.members) || !slices.Equal(own, n.own) {
		return false
	}
	for _, m := range members {
		if have := n.members[m.workload.Id]; have == nil || !proto.Equal(have.workload, m.workload) {
			return false
		}
	}
	return true
}

// ReportStatus remembers how an agent is.
func (c *collector) ReportStatus(ctx context.Context, r *controlv1.ReportStatusRequest) (*controlv1.ReportStatusResponse, error) {
	if err := checkNode(r.Node); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s := c.s
	if err := s.admit(ctx, r.Node, r.Run); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dir.node(r.Node)
	c.warn(n, r.Warnings)
	n.status, n.policy, n.attached, n.seen = r, r.Policy, r.Attached, s.now().UnixNano()
	s.notify()
	// What was reported is compared, never only sent once: a list that was lost, or that an agent
	// before this one reported, is asked for again.
	return &controlv1.ReportStatusResponse{ResendWorkloads: r.WorkloadsDigest != 0 && r.WorkloadsDigest != n.digest, Rivals: s.rivalMessages(r.Node)}, nil
}

// maxWarnings bounds what is shown of what an agent warns of.
const maxWarnings = 100

// warn makes events of what an agent warns of and did not before. The lock is held.
func (c *collector) warn(n *node, warnings []string) {
	s := c.s
	for _, text := range warnings[:min(len(warnings), maxWarnings)] {
		if !slices.Contains(n.status.GetWarnings(), text) {
			s.publish(controlv1.EventKind_EVENT_KIND_WARNING, n.name, text)
		}
	}
}

// ListWorkloads returns the workloads that are selected, by node and id, with what their agents report of them.
func (c *control) ListWorkloads(_ context.Context, r *controlv1.ListWorkloadsRequest) (*controlv1.ListWorkloadsResponse, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.dir.all()
	sets, err := s.sets(r.Select)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "select: %v", err)
	}
	for _, name := range r.Nodes {
		if s.dir.nodes[name] == nil {
			return nil, status.Errorf(codes.InvalidArgument, "no node is called %q: there are %s", name, listed(s.dir.names()))
		}
	}
	all = slices.DeleteFunc(all, func(m *member) bool {
		return len(r.Nodes) > 0 && !slices.Contains(r.Nodes, m.node) || len(r.Modes) > 0 && !slices.Contains(r.Modes, s.mode(m.group)) || !inOne(sets, m)
	})
	part, next, err := cut(all, r.Page, func(m *member) string { return m.node + "\x00" + m.workload.Id })
	if err != nil {
		return nil, err
	}
	out := &controlv1.ListWorkloadsResponse{Total: uint64(len(all)), NextToken: next}
	for _, m := range part {
		out.Workloads = append(out.Workloads, s.workloadMessage(m))
	}
	return out, nil
}

// workloadMessage is a workload with its agent's report of it. The lock is held.
func (s *book) workloadMessage(m *member) *controlv1.Workload {
	n := s.dir.nodes[m.node]
	w := proto.CloneOf(m.workload)
	w.Mode = s.mode(m.group)
	shown := n.shown[w.Id]
	w.Note, w.Choice, w.ChosenBy = shown.GetNote(), shown.GetChoice(), shown.GetChosenBy()
	reported := make(map[string]*controlv1.Interface, len(w.Interfaces))
	for _, i := range shown.GetInterfaces() {
		reported[i.Name] = i
	}
	for _, i := range w.Interfaces {
		i.Backend, i.Note, i.Error = n.attached[attachment(m, i.Name)], reported[i.Name].GetNote(), reported[i.Name].GetError()
		if reported[i.Name].GetBackend() == "" && i.Error == "" {
			i.Error = n.status.GetWorkloadErrors()[w.Id] // the list as of now has not come yet
		}
	}
	return w
}
