//go:build linux

package priority_test

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/internal/priority"
)

// TestThread sets a thread's nice value, which a process that it starts inherits.
func TestThread(t *testing.T) {
	done := make(chan string)
	go func() {
		runtime.LockOSThread() // the thread ends with its nice value
		if err := priority.SetThread(7); err != nil {
			t.Error(err)
		}
		if n, err := priority.Current(); err != nil || n != 7 {
			t.Errorf("nice value %d (%v), want 7", n, err)
		}
		out, err := exec.Command("nice").Output()
		if err != nil {
			t.Error(err)
		}
		done <- strings.TrimSpace(string(out))
	}()
	if got := <-done; got != "7" {
		t.Errorf("a process that the thread started has nice value %q, want 7", got)
	}
}

// TestRaise raises every thread, and those that are started later.
func TestRaise(t *testing.T) {
	before, err := priority.Raise(mine(t)) // to what it is: always permitted
	if err != nil {
		t.Fatal(err)
	}
	if _, err := priority.Raise(before - 1); err != nil {
		t.Skip("no right to raise the priority: ", err)
	}
	defer func() {
		if _, err := priority.Raise(before); err != nil {
			t.Error(err)
		}
	}()
	got := make(chan int, 8)
	for range cap(got) {
		go func() {
			runtime.LockOSThread()
			n, err := priority.Current()
			if err != nil {
				t.Error(err)
			}
			got <- n
		}()
	}
	for range cap(got) {
		if n := <-got; n != before-1 {
			t.Errorf("a thread has nice value %d, want %d", n, before-1)
		}
	}
	if _, err := priority.Raise(before); err != nil {
		t.Error(err)
	}
}

func mine(t *testing.T) int {
	t.Helper()
	n, err := priority.Current()
	if err != nil {
		t.Fatal(err)
	}
	return n
}
