package nfqueue

import (
	"testing"
	"time"
)

// TestActivity: a worker is stuck only while it handles one batch for longer than the limit.
func TestActivity(t *testing.T) {
	a := activity{epoch: time.Now()}
	at := func(ms int) time.Time { return a.epoch.Add(time.Duration(ms) * time.Millisecond) }
	if a.stuck(at(10_000), time.Second) {
		t.Error("stuck before the first batch")
	}
	a.begin(a.epoch) // at once
	if a.stuck(at(900), time.Second) || !a.stuck(at(1100), time.Second) {
		t.Error("the limit is a second")
	}
	a.finish()
	if a.stuck(at(10_000), time.Second) {
		t.Error("stuck while it waits")
	}
	if a.begin(at(9500)); a.stuck(at(10_000), time.Second) {
		t.Error("stuck by the batch before")
	}
}
