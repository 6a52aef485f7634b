package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
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

// storeFail writes the value of --fail into the settings, through the controller that answers on the
// socket, and tries again while none does. It does nothing without the flag.
func storeFail(ctx context.Context, f *standaloneFlags, log *slog.Logger) error {
	fail, err := f.failMode()
	if err != nil || fail == controlv1.Fail_FAIL_UNSPECIFIED {
		return err
	}
	conn, err := dialSocket(f.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	for wait := firstReconnect; ; wait = min(2*wait, lastReconnect) {
		_, err := putDefaultFail(ctx, controlv1.NewControlClient(conn), fail)
		switch status.Code(err) {
		case codes.OK:
			log.Info("default fail mode stored", "fail", vocab.Text(fail))
			return nil
		case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.FailedPrecondition:
		default:
			return fmt.Errorf("--fail %s: store the setting: %w", f.fail, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("--fail %s: store the setting: %w", f.fail, err)
		case <-time.After(wait):
		}
	}
}
