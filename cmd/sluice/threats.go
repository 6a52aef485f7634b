package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

type threatView struct {
	ID              uint32 `json:"id"`
	Name            string `json:"name"`
	Text            string `json:"text"`
	Workload        string `json:"workload"` // that saw it
	From            string `json:"from"`     // the sender
	To              string `json:"to"`
	FromGroup       string `json:"from_group"`
	ToGroup         string `json:"to_group"`
	Source          string `json:"source"`
	SourcePort      uint32 `json:"source_port"`
	Destination     string `json:"destination"`
	DestinationPort uint32 `json:"destination_port"`
	Proto           string `json:"proto"`
	Family          string `json:"family"`
	Count           uint64 `json:"count"`
	First           string `json:"first"`
	Last            string `json:"last"`
	Frame           string `json:"frame"` // hex, from the IP header on, at most 256 bytes
}

func viewThreat(t *controlv1.Threat) threatView {
	return threatView{ID: t.Id, Name: t.Name, Text: clean(t.Text), Workload: clean(t.Workload), From: end(t.FromWorkload, t.From), To: end(t.ToWorkload, t.To), FromGroup: t.From, ToGroup: t.To,
		Source: t.Source, SourcePort: t.SourcePort, Destination: t.Destination, DestinationPort: t.DestinationPort, Proto: protoOf(t.Proto), Family: vocab.Text(t.Family),
		Count: t.Count, First: stamp(t.First), Last: stamp(t.Last), Frame: hex.EncodeToString(t.Frame)}
}

func newThreats(c *cli) *cobra.Command {
	var f filterFlags
	var ids []uint
	packet := false
	cmd := &cobra.Command{
		Use:     "threats",
		Aliases: []string{"threat"},
		Short:   "Show attacks and malformed traffic that was seen",
		Long: `Shows each kind of threat between two ends, newest first: scans, floods, malformed packets and what
parsers found. FROM is the sender. --packet shows the packet that showed it first, from its IP header on, at
most 256 bytes; -o json has it as hex in "frame".` + filterHelp,
		Example: "  sluice threats\n  sluice threats --packet --from 203.0.113.0/24\n  sluice threats --threat 1001 --since 1h\n  sluice threats -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, id := range ids {
				f.f.Threats = append(f.f.Threats, uint32(id))
			}
			return c.filtered(cmd, &f, func(ctx context.Context, cl controlv1.ControlClient, filter *controlv1.Filter) error {
				ts, total, err := pages(f.limit, func(p *controlv1.Page) (page[*controlv1.Threat], error) {
					r, err := cl.ListThreats(ctx, &controlv1.ListThreatsRequest{Filter: filter, Page: p})
					return page[*controlv1.Threat]{r.GetThreats(), r.GetNextToken(), r.GetTotal()}, err
				})
				if err != nil {
					return err
				}
				defer c.cut(len(ts), total)
				return c.showThreats(ts, packet)
			})
		},
	}
	f.add(cmd.Flags(), 200)
	cmd.Flags().UintSliceVar(&ids, "threat", nil, "only with this number")
	cmd.Flags().BoolVar(&packet, "packet", false, "show the packet that showed each one")
	return cmd
}

// hostPort is an address with its port, where there is one.
func hostPort(host string, port uint32) string {
	if port == 0 || host == "" {
		return host
	}
	return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
}

func (c *cli) showThreats(ts []*controlv1.Threat, packet bool) error {
	views, rows := []threatView{}, [][]cell{}
	for _, t := range ts {
		v := viewThreat(t)
		views = append(views, v)
		rows = append(rows, []cell{number(uint64(v.ID)), {text: v.Name, colour: red}, text(v.From), text(v.To), text(protoPort(v.Proto, v.DestinationPort)), number(v.Count),
			text(v.Workload), faint(c.out.ago(t.Last)), text(clip(v.Text, 80))})
	}
	if c.json() {
		return c.document(views)
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.out, "No threats.")
		return nil
	}
	head := []string{"id", "threat", "from", "to", "port", "count", "seen by", "last seen", "text"}
	if !packet {
		c.out.table(head, rows)
		return nil
	}
	for i, t := range ts {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		c.out.table(head, rows[i:i+1])
		fmt.Fprintf(c.out, "%s → %s\n", hostPort(t.Source, t.SourcePort), hostPort(t.Destination, t.DestinationPort))
		if len(t.Frame) == 0 {
			fmt.Fprintln(c.out, "no packet was kept")
			continue
		}
		fmt.Fprint(c.out, hex.Dump(t.Frame))
	}
	return nil
}
