package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/specstore"
)

// rewatch is how long to wait after a policy watch broke.
const rewatch = time.Second

// watchPolicy compiles each policy that the store has for the node and passes it on, until ctx ends.
// One that cannot be used is logged and the one before stays in force.
func (a *Agent) watchPolicy(ctx context.Context, to chan<- *policy.Table) {
	for ctx.Err() == nil {
		for spec, err := range specstore.Watch(ctx, a.cfg.Store, a.cfg.Node) {
			if err != nil {
				a.log.Warn("policy not read", "error", err)
				continue
			}
			table, err := policy.Compile(spec)
			if err != nil {
				a.log.Error("policy refused", "version", spec.Version, "error", err)
				continue
			}
			select {
			case to <- table:
			case <-ctx.Done():
				return
			}
			if err := a.keep(spec); err != nil {
				a.log.Warn("policy not kept on disk", "error", err)
			}
		}
		select {
		case <-time.After(rewatch):
		case <-ctx.Done():
		}
	}
}

// path is where the last good policy is kept; the node's name is made safe for a file name.
func (a *Agent) path() string {
	safe := strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '_'
		}
		return r
	}, a.cfg.Node)
	return filepath.Join(a.cfg.Data, "policy-"+safe+".json")
}

// keep writes the policy to disk, for a start while the store is away.
func (a *Agent) keep(s *policy.Spec) error {
	if a.cfg.Data == "" {
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode policy: %w", err)
	}
	tmp := a.path() + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	return os.Rename(tmp, a.path())
}

// restore is the policy kept on disk; nil if there is none that can be used.
func (a *Agent) restore() *policy.Table {
	if a.cfg.Data == "" {
		return nil
	}
	data, err := os.ReadFile(a.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s policy.Spec
	var t *policy.Table
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err == nil {
		t, err = policy.Compile(&s)
	}
	if err != nil {
		a.log.Warn("policy kept on disk is not usable", "file", a.path(), "error", err)
		return nil
	}
	a.log.Info("policy kept on disk in force", "version", s.Version)
	return t
}
