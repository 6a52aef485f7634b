package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
)

// holdFlags are what "sluice hold" sets.
type holdFlags struct {
	time    time.Duration
	timed   bool // time is given
	expired string
	wait    time.Duration
}

func newHold(c *cli) *cobra.Command {
	f := holdFlags{wait: 10 * time.Second}
	cmd := &cobra.Command{
		Use:   "hold [GROUP...|all]",
		Short: "Set how long payload is held, and what follows",
		Long: `In protect mode, payload of a connection is held until the rules have decided on it. Where rules name
applications and the first bytes do not show which one it is, it is held for --time at most. Then the
connection is refused, or passes as a violation with the reason hold_expired (--expired).

With groups the choice is for these, as "sluice groups" lists them or by their short names; "all" is every
service group. Without groups it is the default of those that have no choice of their own. Without flags
the present choices are shown.`,
		Example: "  sluice hold\n  sluice hold --time 3s\n  sluice hold web api --time 8s --expired pass\n  sluice hold all --expired deny",
		Args: func(_ *cobra.Command, a []string) error {
			_, err := f.request(a)
			return err
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			f.timed = cmd.Flags().Changed("time")
			r, err := f.request(a)
			if err != nil {
				return err
			}
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				switch {
				case len(a) > 0 && !f.given():
					return errors.New("nothing to set is given: use --time, --expired, or both")
				case len(a) > 0:
					return c.setHold(ctx, cl, r, f.wait)
				case f.given():
					return c.defaultHold(ctx, cl, r)
				}
				return c.showHold(ctx, cl)
			})
		},
	}
	cmd.Flags().DurationVar(&f.time, "time", 0, "the longest time that payload is held, up to 1m; 0 is the default")
	cmd.Flags().StringVar(&f.expired, "expired", "", "what follows: deny, or pass as a violation")
	cmd.Flags().DurationVar(&f.wait, "wait", f.wait, "how long to wait for the agents; 0 does not wait")
	return cmd
}

// given reports whether there is something to set.
func (f *holdFlags) given() bool { return f.timed || f.expired != "" }

// request returns the flags as a request.
func (f *holdFlags) request(groups []string) (*controlv1.SetHoldRequest, error) {
	r := &controlv1.SetHoldRequest{Groups: groups, Wait: f.wait > 0}
	if f.timed {
		ns := int64(f.time)
		r.Hold = &ns
	}
	if f.expired != "" {
		e, err := vocab.Parse[controlv1.HoldExpired]("choice for expired holds", f.expired, controlv1.HoldExpired_value)
		if err != nil {
			return nil, err
		}
		r.Expired = e
	}
	return r, nil
}

// holdText describes a choice.
func holdText(ns int64, e controlv1.HoldExpired) string {
	switch {
	case ns == 0:
		return "then " + vocab.Text(e)
	case e == controlv1.HoldExpired_HOLD_EXPIRED_UNSPECIFIED:
		return time.Duration(ns).String()
	}
	return time.Duration(ns).String() + ", then " + vocab.Text(e)
}

// holdColour is the colour of what follows an expired hold.
func holdColour(e controlv1.HoldExpired) colour {
	if e == controlv1.HoldExpired_HOLD_EXPIRED_DENY {
		return green
	}
	return plain
}

func (c *cli) setHold(ctx context.Context, cl controlv1.ControlClient, r *controlv1.SetHoldRequest, wait time.Duration) error {
	name := holdText(r.GetHold(), r.Expired)
	if r.Hold != nil && r.GetHold() == 0 && r.Expired == controlv1.HoldExpired_HOLD_EXPIRED_UNSPECIFIED {
		name = "default"
	}
	ch := change{what: "hold", name: name, wait: wait, colour: holdColour(r.Expired)}
	_, err := c.change(ctx, &ch, func(ctx context.Context) (*changed, error) {
		a, err := cl.SetHold(ctx, r)
		return &changed{a.GetGroups(), a.GetPolicy(), a.GetEnforced(), nil}, err
	})
	return err
}

// defaultHold sets the default of all groups.
func (c *cli) defaultHold(ctx context.Context, cl controlv1.ControlClient, r *controlv1.SetHoldRequest) error {
	s, err := changeSettings(ctx, cl, func(s *controlv1.Settings) {
		if r.Hold != nil {
			s.DefaultHold = r.GetHold()
		}
		if r.Expired != controlv1.HoldExpired_HOLD_EXPIRED_UNSPECIFIED {
			s.DefaultHoldExpired = r.Expired
		}
	})
	if err != nil {
		return err
	}
	return c.printHold(s, nil)
}

// changeSettings writes the settings with a change, again if another user changed them in
// between.
func changeSettings(ctx context.Context, cl controlv1.ControlClient, change func(*controlv1.Settings)) (*controlv1.Settings, error) {
	const attempts = 10
	for i := 0; ; i++ {
		r, err := cl.GetSettings(ctx, &controlv1.GetSettingsRequest{})
		if err != nil {
			return nil, err
		}
		s := r.Settings
		if s == nil {
			s = &controlv1.Settings{}
		}
		change(s)
		put, err := cl.PutSettings(ctx, &controlv1.PutSettingsRequest{Settings: s})
		if err == nil {
			return put.Settings, nil
		}
		if status.Code(err) != codes.Aborted || i == attempts {
			return nil, err
		}
	}
}

// showHold shows the default and the groups that have a choice of their own.
func (c *cli) showHold(ctx context.Context, cl controlv1.ControlClient) error {
	r, err := cl.GetSettings(ctx, &controlv1.GetSettingsRequest{})
	if err != nil {
		return err
	}
	groups, err := allGroups(ctx, cl)
	if err != nil {
		return err
	}
	return c.printHold(r.GetSettings(), groups)
}

// printHold prints the default, and the choices of groups.
func (c *cli) printHold(s *controlv1.Settings, groups []*controlv1.Group) error {
	ns, expired := s.GetDefaultHold(), s.GetDefaultHoldExpired()
	if ns == 0 {
		ns = int64(policy.DefaultHold)
	}
	if expired == controlv1.HoldExpired_HOLD_EXPIRED_UNSPECIFIED {
		expired = controlv1.HoldExpired_HOLD_EXPIRED_DENY
	}
	own, rows := map[string]any{}, [][]cell{}
	for _, g := range groups {
		if g.Hold == 0 && g.HoldExpired == controlv1.HoldExpired_HOLD_EXPIRED_UNSPECIFIED {
			continue
		}
		own[g.Name] = map[string]any{"hold_ms": g.Hold / 1e6, "hold_expired": vocab.Text(g.HoldExpired)}
		rows = append(rows, []cell{text(g.Name), {text: holdText(g.Hold, g.HoldExpired), colour: holdColour(g.HoldExpired)}})
	}
	if c.json() {
		doc := map[string]any{"default_hold_ms": ns / 1e6, "default_hold_expired": vocab.Text(expired)}
		if groups != nil {
			doc["groups"] = own
		}
		return c.document(doc)
	}
	fmt.Fprintf(c.out, "default: %s\n", c.out.paint(holdColour(expired), holdText(ns, expired)))
	if len(rows) > 0 {
		c.section([]string{"group", "hold"}, rows)
	}
	return nil
}
