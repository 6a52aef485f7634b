package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/store/embedded"
)

// TestPredecessor starts while another process has the socket: one that answers is running, and any other is
// ending, which is waited for.
func TestPredecessor(t *testing.T) {
	for _, c := range []struct {
		name            string
		answers, ending bool
		want            string // error; "" for a start
	}{
		{"running", true, false, "another sluice is listening on"},
		{"killed, not removed by the kernel yet", false, false, ""},
		{"ending, and still answering", true, true, ""},
		{"ending, and no longer answering", false, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			if c.answers {
				path = serve(t, &fake{})
			}
			other, err := lockFile(path + ".lock")
			if err != nil {
				t.Fatal(err)
			}
			if c.ending {
				markEnding(other)
			}
			const takes = 1500 * time.Millisecond
			begin := time.Now()
			time.AfterFunc(takes, func() { other.Close() })
			var log bytes.Buffer
			d := &daemon{log: slog.New(slog.NewTextHandler(&log, nil))}
			lock, err := d.lockSocket(path)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			if took := time.Since(begin); took < takes {
				t.Errorf("started after %s, before the other one ended", took)
			}
			if !strings.Contains(log.String(), "another sluice is ending, waiting for it") {
				t.Errorf("log %q", log.String())
			}
			if st, err := lock.Stat(); err != nil || st.Size() != 0 {
				t.Errorf("the lock still has the mark of the one before: %v", err)
			}
		})
	}
}

// TestStoreInMemory opens a store in memory, which is as empty as a new one each time.
func TestStoreInMemory(t *testing.T) {
	d := &daemon{flags: &standaloneFlags{data: t.TempDir(), node: "n1"}, log: slog.New(slog.DiscardHandler), fatal: make(chan error, 1)}
	path, free, err := embedded.MemoryFile()
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	s, err := d.openStoreAt(path, "none", policy.Discover, errors.New("it is damaged"))
	if err != nil {
		t.Fatal(err)
	}
	s.state.probe(t.Context())
	if got := s.state.state(); got.Reachable || got.Error != "it is damaged" {
		t.Errorf("state %v", got)
	}
	d.close()
}

// TestRefuseChanges calls every method of Control without a store.
func TestRefuseChanges(t *testing.T) {
	reads := map[string]bool{"Status": true, "ListWorkloads": true, "ListGroups": true, "ListRules": true, "ListSetAside": true, "GetSettings": true, "ListConnections": true,
		"ListViolations": true, "ListThreats": true, "ListEvents": true, "Why": true}
	called := func(context.Context, any) (any, error) { return "called", nil }
	for _, m := range controlv1.Control_ServiceDesc.Methods {
		info := &grpc.UnaryServerInfo{FullMethod: "/" + controlv1.Control_ServiceDesc.ServiceName + "/" + m.MethodName}
		_, err := refuseChanges(errors.New("the store is damaged"))(t.Context(), nil, info, called)
		if (err == nil) != reads[m.MethodName] || err != nil && (status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the store is damaged")) {
			t.Errorf("%s: %v", m.MethodName, err)
		}
		if _, err := refuseChanges(nil)(t.Context(), nil, info, called); err != nil {
			t.Errorf("%s with a store: %v", m.MethodName, err)
		}
	}
	for _, m := range controlv1.Collector_ServiceDesc.Methods {
		info := &grpc.UnaryServerInfo{FullMethod: "/" + controlv1.Collector_ServiceDesc.ServiceName + "/" + m.MethodName}
		if _, err := refuseChanges(errors.New("the store is damaged"))(t.Context(), nil, info, called); err != nil {
			t.Errorf("a report, %s: %v", m.MethodName, err)
		}
	}
}

// TestHeldIsUnwell checks that held policies and changes that are not stored are in /healthz.
func TestHeldIsUnwell(t *testing.T) {
	held := &controlv1.HeldPolicy{Version: 7, Offered: 1, Reason: "the store is empty or another one"}
	up := &controlv1.StoreState{Reachable: true, Checked: 1}
	for _, c := range []struct {
		name   string
		agent  bool
		status *controlv1.StatusResponse
		store  *controlv1.StoreState
		want   string
	}{
		{"a controller that stores nothing", false, &controlv1.StatusResponse{Warnings: []string{"changes are not stored"}}, up, "changes are not stored"},
		{"a controller with a node that holds", false, &controlv1.StatusResponse{Nodes: []*controlv1.NodeStatus{{Node: "n1", Held: held}}}, up, "node n1 holds policy 7"},
		{"standalone that stores nothing", true, &controlv1.StatusResponse{Warnings: []string{"changes are not stored"}}, up, "changes are not stored"},
		{"an agent without a store", true, nil, &controlv1.StoreState{Error: "no server leads", Checked: 1}, "store does not answer: no server leads"},
		{"an agent", true, nil, up, ""},
	} {
		o := &observed{store: func() *controlv1.StoreState { return c.store }, control: func() *controlv1.StatusResponse { return c.status }}
		if c.agent {
			o.agent = &fakeAgent{ready: true, answers: true}
		}
		if got := o.unwell(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
