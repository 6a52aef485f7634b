package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

func newFail(c *cli) *cobra.Command {
	wait := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "fail [open|closed] [GROUP...|all]",
		Short: "Set whether unjudged frames pass or are dropped",
		Long: `Where the dataplane cannot judge a frame in time, because its process is starved, gone or full, a group
fails open (frames pass, and "sluice violations" reports them) or closed (frames are dropped).

With groups the choice is for these, as "sluice groups" lists them or by their short names; "all" is every
service group. Without groups it is the default of those that have no choice of their own. Without
arguments the present choices are shown.`,
		Example: "  sluice fail\n  sluice fail closed\n  sluice fail closed db payments\n  sluice fail open all",
		Args: func(_ *cobra.Command, a []string) error {
			if len(a) == 0 {
				return nil
			}
			_, err := vocab.Parse[controlv1.Fail]("fail mode", a[0], controlv1.Fail_value)
			return err
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				if len(a) == 0 {
					return c.showFail(ctx, cl)
				}
				fail, err := vocab.Parse[controlv1.Fail]("fail mode", a[0], controlv1.Fail_value)
				switch {
				case err != nil:
					return err
				case len(a) == 1:
					return c.defaultFail(ctx, cl, fail)
				}
				return c.setFail(ctx, cl, a[1:], fail, wait)
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long to wait for the agents; 0 does not wait")
	return cmd
}

// failColour is the colour of a fail mode.
func failColour(f controlv1.Fail) colour {
	if f == controlv1.Fail_FAIL_CLOSED {
		return green
	}
	return plain
}

func (c *cli) setFail(ctx context.Context, cl controlv1.ControlClient, groups []string, fail controlv1.Fail, wait time.Duration) error {
	ch := change{what: "fail mode", name: vocab.Text(fail), wait: wait, colour: failColour(fail)}
	_, err := c.change(ctx, &ch, func(ctx context.Context) (*changed, error) {
		r, err := cl.SetFail(ctx, &controlv1.SetFailRequest{Groups: groups, Fail: fail, Wait: wait > 0})
		return &changed{r.GetGroups(), r.GetPolicy(), r.GetEnforced(), nil}, err
	})
	return err
}

// defaultFail sets the default of all groups.
func (c *cli) defaultFail(ctx context.Context, cl controlv1.ControlClient, fail controlv1.Fail) error {
	s, err := putDefaultFail(ctx, cl, fail)
	if err != nil {
		return err
	}
	if c.json() {
		return c.document(map[string]any{"default_fail": vocab.Text(s.DefaultFail)})
	}
	fmt.Fprintf(c.out, "default: %s\n", c.out.paint(failColour(fail), vocab.Text(s.DefaultFail)))
	return nil
}

// putDefaultFail writes the default into the settings.
func putDefaultFail(ctx context.Context, cl controlv1.ControlClient, fail controlv1.Fail) (*controlv1.Settings, error) {
	return putDefaults(ctx, cl, func(s *controlv1.Settings) { s.DefaultFail = fail })
}

// putDefaults changes the settings, again if another user changed them in between.
func putDefaults(ctx context.Context, cl controlv1.ControlClient, edit func(*controlv1.Settings)) (*controlv1.Settings, error) {
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
		before := proto.Clone(s)
		if edit(s); proto.Equal(before, s) {
			return s, nil
		}
		put, err := cl.PutSettings(ctx, &controlv1.PutSettingsRequest{Settings: s})
		if err == nil {
			return put.Settings, nil
		}
		if status.Code(err) != codes.Aborted || i == attempts {
			return nil, err
		}
	}
}

// showFail shows the default and the groups that have a choice of their own.
func (c *cli) showFail(ctx context.Context, cl controlv1.ControlClient) error {
	r, err := cl.GetSettings(ctx, &controlv1.GetSettingsRequest{})
	if err != nil {
		return err
	}
	groups, err := allGroups(ctx, cl)
	if err != nil {
		return err
	}
	own, rows := map[string]string{}, [][]cell{}
	for _, g := range groups {
		if g.Fail != controlv1.Fail_FAIL_UNSPECIFIED {
			name := vocab.Text(g.Fail)
			own[g.Name] = name
			rows = append(rows, []cell{text(g.Name), {text: name, colour: failColour(g.Fail)}})
		}
	}
	def := r.GetSettings().GetDefaultFail()
	if def == controlv1.Fail_FAIL_UNSPECIFIED {
		def = controlv1.Fail_FAIL_OPEN
	}
	if c.json() {
		return c.document(map[string]any{"default_fail": vocab.Text(def), "groups": own})
	}
	fmt.Fprintf(c.out, "default: %s\n", c.out.paint(failColour(def), vocab.Text(def)))
	c.section([]string{"group", "fail"}, rows)
	return nil
}
