package graph

import "net/netip"

// MaxFrame bounds the packet that is kept with a threat, bytes.
const MaxFrame = 256

// maxText bounds the sentence of a threat, bytes.
const maxText = 512

// threatKind is what makes two threats the same.
type threatKind struct {
	id                  uint32
	node, workload      string
	source, destination netip.Addr
	proto               uint8
	port                uint16
}

// Ends are the two ends of a threat, by group, node and name or address.
type Ends struct {
	From         string `json:"from"` // group of the sender
	To           string `json:"to"`
	FromNode     string `json:"from_node,omitempty"` // of a workload
	ToNode       string `json:"to_node,omitempty"`
	FromWorkload string `json:"from_workload"` // names, or addresses
	ToWorkload   string `json:"to_workload"`
}

// Threat is one kind of threat between two ends.
type Threat struct {
	ID       uint32 `json:"id"`
	Text     string `json:"text"` // of the last
	Node     string `json:"node"`
	Workload string `json:"workload"` // id of the workload that saw it
	Ends
	Source          netip.Addr `json:"source"`
	Destination     netip.Addr `json:"destination"`
	SourcePort      uint16     `json:"source_port,omitempty"` // of the last
	DestinationPort uint16     `json:"destination_port,omitempty"`
	Proto           uint8      `json:"proto"`
	IPv6            bool       `json:"ipv6,omitempty"`
	Count           uint64     `json:"count"`
	First           int64      `json:"first"`
	Last            int64      `json:"last"`
	// Frame is the first packet that showed it, from its IP header on; nil where none was reported.
	Frame   []byte `json:"frame,omitempty"`
	Touched uint64 `json:"-"` // counts up with every change of any row
}

func (t *Threat) kind() threatKind {
	return threatKind{t.ID, t.Node, t.Workload, t.Source, t.Destination, t.Proto, t.DestinationPort}
}

// AddThreat counts a threat: t.Count times. The Graph keeps a copy.
func (g *Graph) AddThreat(t *Threat, share string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := t.kind()
	have, ok := g.threats.touch(k)
	if !ok {
		c := *t
		have = &c
		have.Count, have.Frame = 0, nil
		g.totals.Evicted += uint64(len(g.threats.insert(k, have, ownerOf(share, have.Source), g.limits.Threats)))
	}
	have.Count += t.Count
	have.First, have.Touched = min(have.First, t.First), g.next()
	if t.Last >= have.Last {
		have.Last, have.Text, have.SourcePort = t.Last, t.Text[:min(len(t.Text), maxText)], t.SourcePort
	}
	if len(have.Frame) == 0 && len(t.Frame) > 0 {
		have.Frame = append([]byte(nil), t.Frame[:min(len(t.Frame), MaxFrame)]...)
	}
	g.totals.Threats += t.Count
}
