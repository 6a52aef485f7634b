package main

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

// eventView is the JSON of one event, one a line.
type eventView struct {
	Time       string            `json:"time"`
	Kind       string            `json:"kind"` // opened, ended, violation, threat, warning, failopen, node
	From       string            `json:"from"` // client, or source of a threat
	To         string            `json:"to"`
	FromGroup  string            `json:"from_group"`
	ToGroup    string            `json:"to_group"`
	Client     string            `json:"client"` // addresses
	ClientPort uint32            `json:"client_port"`
	Server     string            `json:"server"`
	Proto      string            `json:"proto"`
	Port       uint32            `json:"port"`
	App        string            `json:"app"`
	Verdict    string            `json:"verdict"`
	Reason     string            `json:"reason"`
	Rule       uint32            `json:"rule"`
	Outcome    string            `json:"outcome"`
	ClientEnd  *endView          `json:"client_end"`
	ServerEnd  *endView          `json:"server_end"`
	Family     string            `json:"family"`
	Direction  string            `json:"direction"` // of the reporter: egress where it is the client
	Reporter   string            `json:"reporter"`
	Sessions   uint64            `json:"sessions"`
	Bytes      uint64            `json:"bytes"`
	BytesOut   uint64            `json:"bytes_out"` // client to server
	BytesIn    uint64            `json:"bytes_in"`
	Began      string            `json:"began"`
	Text       string            `json:"text,omitempty"`
	Cause      string            `json:"cause,omitempty"`  // of failopen
	Frames     uint64            `json:"frames,omitempty"` // of failopen
	Threat     uint32            `json:"threat,omitempty"` // its number
	Frame      string            `json:"frame,omitempty"`  // hex, of a threat
	Missed     uint64            `json:"missed,omitempty"` // events before this one that this reader did not get
	Cursor     string            `json:"cursor"`
	Attrs      map[string]string `json:"attrs"`
}

func viewEvent(e *controlv1.Event) eventView {
	v := eventView{Time: stamp(e.Stamp), Kind: vocab.Text(e.Kind), From: clean(e.From), To: clean(e.To), FromGroup: e.FromGroup, ToGroup: e.ToGroup,
		Client: e.Client, ClientPort: e.ClientPort, Server: e.Server, Proto: protoOf(e.Proto), Port: e.Port, App: e.App, Verdict: vocab.Text(e.Verdict), Reason: vocab.Text(e.Reason),
		Rule: e.Rule, ClientEnd: viewEnd(e.ClientEnd), ServerEnd: viewEnd(e.ServerEnd), Family: vocab.Text(e.Family), Reporter: clean(e.Reporter), Sessions: e.Sessions,
		Bytes: e.BytesOut + e.BytesIn, BytesOut: e.BytesOut, BytesIn: e.BytesIn, Began: stamp(e.Began), Text: clean(e.Text), Cause: e.Cause, Frames: e.Frames, Threat: e.Threat,
		Frame: hex.EncodeToString(e.Frame), Missed: e.Missed, Cursor: e.Cursor, Attrs: orEmpty(e.Attrs)}
	if ofConnection(e.Kind) {
		v.Outcome, v.Direction = vocab.Text(e.Outcome), "ingress"
		if e.Egress {
			v.Direction = "egress"
		}
	}
	return v
}

// ofConnection reports whether events of a kind are about a connection.
func ofConnection(k controlv1.EventKind) bool {
	switch k {
	case controlv1.EventKind_EVENT_KIND_OPENED, controlv1.EventKind_EVENT_KIND_ENDED, controlv1.EventKind_EVENT_KIND_VIOLATION:
		return true
	}
	return false
}

// event writes one line.
func (c *cli) event(e *controlv1.Event) error {
	v := viewEvent(e)
	if c.json() {
		enc := json.NewEncoder(c.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	if v.Missed > 0 {
		text := fmt.Sprintf("%d events missed", v.Missed)
		if v.Missed == 1 { // one at least: a daemon that was restarted does not know the number
			text = "events missed"
		}
		fmt.Fprintln(c.out, c.out.paint(yellow, text))
	}
	var line string
	switch {
	case ofConnection(e.Kind):
		line = c.connectionLine(e, &v)
	case e.Kind == controlv1.EventKind_EVENT_KIND_THREAT:
		line = fmt.Sprintf("%s → %s  %s  %s", at(v.From, 0), at(v.To, 0), protoPort(v.Proto, v.Port), c.out.paint(red, v.Text))
		if v.Reporter != "" {
			line += "  seen by " + v.Reporter
		}
	case e.Kind == controlv1.EventKind_EVENT_KIND_FAILOPEN:
		line = fmt.Sprintf("%s  %s", cmp.Or(v.Reporter, v.From), c.out.paint(red, cmp.Or(v.Text, fmt.Sprintf("%d frames without a verdict: %s", v.Frames, v.Cause))))
	default:
		line = fmt.Sprintf("%s: %s", cmp.Or(v.Reporter, v.From), c.out.paint(yellow, v.Text))
	}
	_, err := fmt.Fprintf(c.out, "%s  %-9s  %s\n", c.out.paint(grey, time.Unix(0, e.Stamp).Format("15:04:05.000")), v.Kind, line)
	return err
}

// at is an end with its port.
func at(name string, port uint32) string { return hostPort(cmp.Or(name, "?"), port) }

// connectionLine is an event of a connection: its ends, bytes, verdict, what
// became of it, and which end reported that.
func (c *cli) connectionLine(e *controlv1.Event, v *eventView) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s → %s  %s %s", at(v.From, v.ClientPort), at(v.To, v.Port), v.Proto, cmp.Or(v.App, "unknown"))
	if inner := v.Attrs["inner"]; inner != "" {
		fmt.Fprintf(&b, " (%s inside)", clean(inner))
	}
	if v.Sessions > 1 {
		fmt.Fprintf(&b, " ×%d", v.Sessions)
	}
	if v.Bytes > 0 {
		fmt.Fprintf(&b, "  %s out, %s in", humanBytes(v.BytesOut), humanBytes(v.BytesIn))
	}
	verdict := bothVerdicts(e.Verdict, e.ClientEnd, e.ServerEnd)
	fmt.Fprintf(&b, "  %s", c.out.paint(verdict.colour, verdict.text))
	if v.Rule != 0 {
		fmt.Fprintf(&b, " (rule %d)", v.Rule)
	} else if v.Reason != "" {
		fmt.Fprintf(&b, " (%s)", v.Reason)
	}
	fmt.Fprintf(&b, "  %s", v.Outcome)
	if v.Reporter != "" {
		fmt.Fprintf(&b, "  %s of %s", v.Direction, v.Reporter)
	}
	if of := v.Attrs["related"]; of != "" {
		fmt.Fprintf(&b, "  %s", c.out.paint(grey, "related to "+clean(of)))
	}
	if at := v.Attrs["service"]; at != "" {
		fmt.Fprintf(&b, "  %s", c.out.paint(grey, "by service address "+clean(at)))
	}
	if name := cmp.Or(v.Attrs["host"], v.Attrs["question"]); name != "" {
		fmt.Fprintf(&b, "  %s", c.out.paint(grey, clean(name)))
	}
	if client := v.Attrs["proxy_client"]; client != "" {
		fmt.Fprintf(&b, "  %s", c.out.paint(grey, "for client "+clean(client)))
	}
	return b.String()
}
