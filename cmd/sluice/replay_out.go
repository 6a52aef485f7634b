package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/parsers"
)

// replaySession is one session of a capture. Packets and bytes are totals; client is the
// address of the side that opened it, which src always is.
type replaySession struct {
	Type     string            `json:"type"`
	Pcap     string            `json:"pcap"`
	Src      netip.Addr        `json:"src"`
	SrcPort  uint16            `json:"sport"`
	Dst      netip.Addr        `json:"dst"`
	DstPort  uint16            `json:"dport"`
	Proto    string            `json:"proto"`
	Family   string            `json:"family"`
	Client   netip.Addr        `json:"client"`
	Evidence string            `json:"evidence"`
	App      string            `json:"app"`
	Base     string            `json:"base"`
	Strength string            `json:"strength"`
	Packets  [2]uint64         `json:"-"`
	Bytes    [2]uint64         `json:"-"`
	AllPkts  uint64            `json:"packets"`
	AllBytes uint64            `json:"bytes"`
	Out      uint64            `json:"bytes_out"`
	In       uint64            `json:"bytes_in"`
	State    string            `json:"state"`
	Outcome  string            `json:"outcome"`
	Verdict  string            `json:"verdict"`
	Reason   string            `json:"reason"`
	Rule     uint32            `json:"rule"`
	Mid      bool              `json:"midstream"`
	First    int64             `json:"first_ns"`
	Last     int64             `json:"last_ns"`
	Attrs    map[string]string `json:"attrs,omitempty"`
}

// replayThreat is one threat of a capture.
type replayThreat struct {
	Type    string     `json:"type"`
	Pcap    string     `json:"pcap"`
	ID      uint16     `json:"id"`
	Text    string     `json:"text"`
	Src     netip.Addr `json:"src"`
	SrcPort uint16     `json:"sport"`
	Dst     netip.Addr `json:"dst"`
	DstPort uint16     `json:"dport"`
	Proto   string     `json:"proto"`
	Stamp   int64      `json:"stamp_ns"`
}

// replayViolation is one session that its mode objects to.
type replayViolation struct {
	Type    string     `json:"type"`
	Pcap    string     `json:"pcap"`
	Src     netip.Addr `json:"src"`
	SrcPort uint16     `json:"sport"`
	Dst     netip.Addr `json:"dst"`
	DstPort uint16     `json:"dport"`
	Proto   string     `json:"proto"`
	App     string     `json:"app"`
	Verdict string     `json:"verdict"`
	Reason  string     `json:"reason"`
	Rule    uint32     `json:"rule"`
}

// replaySummary is the last line.
type replaySummary struct {
	Type       string  `json:"type"`
	Files      int     `json:"files"`
	Broken     int     `json:"broken"`
	Packets    uint64  `json:"packets"`
	Sessions   uint64  `json:"sessions"`
	Identified uint64  `json:"identified"`
	Threats    uint64  `json:"threats"`
	Violations uint64  `json:"violations"`
	Malformed  uint64  `json:"malformed"`
	Seconds    float64 `json:"seconds"`
}

// protoName is an IP protocol as rules and reports write it.
func protoName(p uint8) string {
	switch p {
	case packet.ProtoTCP:
		return "tcp"
	case packet.ProtoUDP:
		return "udp"
	case packet.ProtoICMP:
		return "icmp"
	case packet.ProtoICMPv6:
		return "icmpv6"
	case packet.ProtoSCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

func familyName(ipv6 bool) string {
	if ipv6 {
		return "ipv6"
	}
	return "ipv4"
}

// replayTake puts the records of one capture together.
type replayTake struct {
	name string
	r    *replayer
	live map[uint64]*replaySession
}

func newReplayTake(name string, r *replayer) *replayTake {
	return &replayTake{name: name, r: r, live: map[uint64]*replaySession{}}
}

// flow takes one record; the last one of a session prints it.
func (t *replayTake) record(f *flow.Record) {
	s := t.live[f.Session]
	if s == nil {
		s = &replaySession{Type: "session", Pcap: t.name, Proto: protoName(f.Proto), Family: familyName(f.IPv6), First: f.First}
		t.live[f.Session] = s
	}
	if client := netip.AddrPortFrom(f.Client.Netip(), f.ClientPort); s.Src.IsValid() && client != netip.AddrPortFrom(s.Src, s.SrcPort) {
		// Its sides became known: what was counted so far goes with them.
		s.Packets[0], s.Packets[1] = s.Packets[1], s.Packets[0]
		s.Bytes[0], s.Bytes[1] = s.Bytes[1], s.Bytes[0]
	}
	s.Src, s.SrcPort, s.Dst, s.DstPort = f.Client.Netip(), f.ClientPort, f.Server.Netip(), f.ServerPort
	s.Client, s.Evidence, s.Mid, s.Last = s.Src, f.Evidence.String(), f.Midstream, f.Last
	for d := range f.Packets {
		s.Packets[d] += f.Packets[d]
		s.Bytes[d] += f.Bytes[d]
	}
	appID, base := app.ID(f.App), app.ID(f.Base)
	if f.Kind == flow.End && (appID == app.Undecided || appID == app.None) {
		appID, base = app.Unknown, app.Unknown
	}
	s.App, s.Base, s.Strength = appID.Name(), base.Name(), parsers.Match(f.Strength).String()
	if appID == app.Unknown {
		s.Strength = "none"
	}
	s.State, s.Outcome, s.Verdict, s.Reason, s.Rule = f.Phase.String(), f.Outcome.String(), f.Verdict.String(), f.Reason.String(), f.Rule
	if f.Detail != nil {
		s.Attrs = map[string]string{} // a Detail holds them all, and what was withdrawn is not in it
		for _, p := range f.Detail.Attrs {
			s.Attrs[p.Key] = p.Value
		}
	}
	if f.Kind == flow.End {
		t.endSession(f, s)
	}
}

// endSession prints a session.
func (t *replayTake) endSession(f *flow.Record, s *replaySession) {
	delete(t.live, f.Session)
	s.AllPkts, s.AllBytes = s.Packets[0]+s.Packets[1], s.Bytes[0]+s.Bytes[1]
	s.Out, s.In = s.Bytes[0], s.Bytes[1]
	t.r.sum.Sessions++
	if s.App != "unknown" {
		t.r.sum.Identified++
	}
	t.r.show.session(s)
	if f.Verdict == flow.Violate || f.Verdict == flow.Deny {
		t.r.sum.Violations++
		t.r.show.violation(&replayViolation{Type: "violation", Pcap: t.name, Src: s.Src, SrcPort: s.SrcPort, Dst: s.Dst, DstPort: s.DstPort,
			Proto: s.Proto, App: s.App, Verdict: s.Verdict, Reason: s.Reason, Rule: s.Rule})
	}
}

// threat prints a threat.
func (t *replayTake) threat(x *report.Threat) {
	t.r.sum.Threats++
	t.r.show.threat(&replayThreat{Type: "threat", Pcap: t.name, ID: x.ID, Text: x.Text, Src: x.Src.Netip(), SrcPort: x.SrcPort,
		Dst: x.Dst.Netip(), DstPort: x.DstPort, Proto: protoName(x.Proto), Stamp: x.Stamp})
}

// replayJSON prints a JSON object a line.
type replayJSON struct{ enc *json.Encoder }

func (j *replayJSON) session(s *replaySession)     { _ = j.enc.Encode(s) }
func (j *replayJSON) threat(t *replayThreat)       { _ = j.enc.Encode(t) }
func (j *replayJSON) violation(v *replayViolation) { _ = j.enc.Encode(v) }
func (j *replayJSON) summary(s *replaySummary)     { _ = j.enc.Encode(s) }

// replayTable prints a table.
type replayTable struct {
	w      io.Writer
	headed bool
}

func (t *replayTable) session(s *replaySession) {
	if !t.headed {
		t.headed = true
		fmt.Fprintf(t.w, "%-46s %-46s %-6s %-14s %-8s %8s %11s  %s\n", "CLIENT", "SERVER", "PROTO", "APP", "VERDICT", "PACKETS", "BYTES", "DETAIL")
	}
	fmt.Fprintf(t.w, "%-46s %-46s %-6s %-14s %-8s %8d %11d  %s\n", netip.AddrPortFrom(s.Src, s.SrcPort), netip.AddrPortFrom(s.Dst, s.DstPort),
		s.Proto, s.App, s.Verdict, s.AllPkts, s.AllBytes, brief(s.Attrs))
}

// brief selects the most useful attributes.
func brief(attrs map[string]string) string {
	out := ""
	for _, k := range []string{"host", "method", "path", "service", "question", "command", "banner", "version"} {
		if v := attrs[k]; v != "" && len(out) < 60 {
			out += fmt.Sprintf("%s=%.40q ", k, v)
		}
	}
	return out
}

func (t *replayTable) threat(x *replayThreat) {
	fmt.Fprintf(t.w, "threat %d: %s, from %s to %s\n", x.ID, x.Text, netip.AddrPortFrom(x.Src, x.SrcPort), netip.AddrPortFrom(x.Dst, x.DstPort))
}

func (t *replayTable) violation(*replayViolation) {} // the session's line shows it

func (t *replayTable) summary(s *replaySummary) {
	fmt.Fprintf(t.w, "\n%d packets, %d sessions (%d identified), %d threats, %d violations, %d malformed packets in %.2f s\n",
		s.Packets, s.Sessions, s.Identified, s.Threats, s.Violations, s.Malformed, s.Seconds)
}
