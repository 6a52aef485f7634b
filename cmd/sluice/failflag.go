package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
)

// failUsage is the help of --fail.
const failUsage = "open or closed: whether unjudged frames pass or are dropped, for all groups without a fail mode of their own; it is stored, as by `sluice fail` (default: what is stored)"

// checkFail checks --fail.
func (f *standaloneFlags) checkFail() error {
	if _, err := f.failMode(); err != nil {
		return fmt.Errorf("--fail: %w", err)
	}
	return nil
}

// failMode returns the value of --fail; unspecified where it is not given.
func (f *standaloneFlags) failMode() (controlv1.Fail, error) {
	if f.fail == "" {
		return controlv1.Fail_FAIL_UNSPECIFIED, nil
	}
	return vocab.Parse[controlv1.Fail]("fail mode", f.fail, controlv1.Fail_value)
}

// modeUsage is the help of --mode.
const modeUsage = "mode of groups seen for the first time: discover, monitor or protect; it is stored (default: what is stored, discover at first)"

// checkMode returns the value of --mode, discover where it is not given.
func (f *standaloneFlags) checkMode() (policy.Mode, error) {
	if f.mode == "" {
		return policy.Discover, nil
	}
	m, err := policy.ParseMode(f.mode)
	if err != nil {
		return m, fmt.Errorf("--mode: %w", err)
	}
	return m, nil
}

// storeDefaults writes the values of --mode and --fail into the settings, through the controller that
// answers on the socket, and tries again while none does. It returns the settings. Flags that are not
// given change nothing.
func storeDefaults(ctx context.Context, f *standaloneFlags, log *slog.Logger) (*controlv1.Settings, error) {
	fail, err := f.failMode()
	if err != nil {
		return nil, err
	}
	mode := controlv1.Mode_MODE_UNSPECIFIED
	if f.mode != "" {
		if mode, err = vocab.Parse[controlv1.Mode]("mode", f.mode, controlv1.Mode_value); err != nil {
			return nil, err
		}
	}
	conn, err := dialSocket(f.socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for wait := firstReconnect; ; wait = min(2*wait, lastReconnect) {
		s, err := putDefaults(ctx, controlv1.NewControlClient(conn), func(s *controlv1.Settings) {
			if fail != controlv1.Fail_FAIL_UNSPECIFIED {
				s.DefaultFail = fail
			}
			if mode != controlv1.Mode_MODE_UNSPECIFIED {
				s.DefaultMode = mode
			}
		})
		switch status.Code(err) {
		case codes.OK:
			log.Info("defaults of groups", "mode", vocab.Text(s.DefaultMode), "fail", vocab.Text(s.DefaultFail))
			return s, nil
		case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.FailedPrecondition:
		default:
			return nil, fmt.Errorf("store the settings of --mode and --fail: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("store the settings of --mode and --fail: %w", err)
		case <-time.After(wait):
		}
	}
}
