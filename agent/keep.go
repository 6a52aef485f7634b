package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/atomicfile"
)

// keeper stores the last valid policy on disk, for a start while the store is unavailable, twice, in case a
// file is lost or damaged.
type keeper struct {
	path  string // "" stores none
	log   *slog.Logger
	newer chan *policy.Spec

	// The rest belongs to the goroutine of run.
	written []byte                 // contents of the files; nil before the first
	stamps  map[string]fs.FileInfo // of the files as written

	mu      sync.Mutex
	trouble string // guarded by mu: why a policy on disk is unusable, or not written; "" for nothing
}

// retryDelay is the delay after a failed write, and how often the files are checked.
const retryDelay = 5 * time.Second

func newKeeper(dir, node string, log *slog.Logger) *keeper {
	k := &keeper{log: log, newer: make(chan *policy.Spec, 1), stamps: map[string]fs.FileInfo{}}
	if dir != "" {
		k.path = policyFile(dir, node)
	}
	return k
}

func policyFile(dir, node string) string {
	return filepath.Join(dir, "policy-"+fileName(node)+".json")
}

// fileName returns a node's name in a form safe for files.
func fileName(node string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '_'
		}
		return r
	}, node)
}

// offer queues a policy to be stored, in place of a queued one. One goroutine calls it.
func (k *keeper) offer(s *policy.Spec) {
	select {
	case <-k.newer:
	default:
	}
	k.newer <- s
}

// run stores what is offered until ctx ends, and what is queued then. Files that others change or remove are
// written again.
func (k *keeper) run(ctx context.Context) {
	var due *policy.Spec // not written yet
	again := time.NewTicker(retryDelay)
	defer again.Stop()
	try := func() {
		err := k.writePolicy(due)
		if err == nil {
			due = nil
			k.setTrouble("")
			return
		}
		k.log.Error("policy not stored on disk, trying again", "version", due.Version, "error", err)
		k.setTrouble(fmt.Sprintf("policy %d is not stored on disk, so that a restart without a store would enforce an older one: %v: make room in the data folder, or make it writable", due.Version, err))
	}
	for ctx.Err() == nil {
		select {
		case due = <-k.newer:
			try()
		case <-again.C:
			if due != nil {
				try()
			} else {
				k.repair()
			}
		case <-ctx.Done():
		}
	}
	select {
	case due = <-k.newer:
		try()
	default:
	}
}

const (
	suffixCopy   = ".copy"
	suffixBefore = ".before" // of earlier versions of the program: the policy before
	trailer      = "\nsha256 "
)

// writePolicy writes a policy to disk atomically, also against a loss of power, and then a copy of it.
func (k *keeper) writePolicy(s *policy.Spec) error {
	if k.path == "" {
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode policy: %w", err)
	}
	sum := sha256.Sum256(data)
	data = append(data, trailer+hex.EncodeToString(sum[:])+"\n"...)
	if err := k.writeFile(k.path, data); err != nil {
		return err
	}
	k.written = data
	if err := k.writeFile(k.path+suffixCopy, data); err != nil {
		k.log.Warn("copy of the policy not stored on disk", "version", s.Version, "error", err)
	}
	_ = os.Remove(k.path + suffixBefore)
	return nil
}

func (k *keeper) writeFile(path string, data []byte) error {
	if err := atomicfile.Write(path, data, 0o600); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	delete(k.stamps, path)
	if info, err := os.Stat(path); err == nil {
		k.stamps[path] = info
	}
	return nil
}

// repair writes files again that were removed or changed since they were written.
func (k *keeper) repair() {
	if k.written == nil {
		return
	}
	for _, path := range []string{k.path, k.path + suffixCopy} {
		info, err := os.Stat(path)
		was := k.stamps[path]
		if err == nil && was != nil && info.Size() == was.Size() && info.ModTime().Equal(was.ModTime()) {
			continue
		}
		if err := k.writeFile(path, k.written); err == nil {
			k.log.Warn("stored policy was removed or changed, written again", "file", path)
		} else if was != nil {
			delete(k.stamps, path) // logged once
			k.log.Error("stored policy was removed or changed, not written again", "file", path, "error", err)
		}
	}
}

// kept is a policy from disk.
type kept struct {
	spec  *policy.Spec
	table *policy.Table
}

// restore returns the newest policy on disk; nil if there is no usable one.
func (k *keeper) restore() *kept {
	if k.path == "" {
		return nil
	}
	best, bad := readNewest(k.path)
	for _, err := range bad {
		k.log.Error("stored policy unusable", "error", err)
	}
	switch {
	case best != nil:
		k.log.Info("stored policy applied", "version", best.spec.Version)
	case len(bad) > 0:
		k.setTrouble(fmt.Sprintf("no stored policy is usable, nothing is enforced until the store has one: %v", bad[0]))
	}
	return best
}

// readNewest returns the newest usable policy of a file and its copies; nil for none.
func readNewest(path string) (best *kept, bad []error) {
	for _, suffix := range []string{"", suffixCopy, suffixBefore} {
		p, err := readPolicy(path + suffix)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			bad = append(bad, fmt.Errorf("%s: %w", path+suffix, err))
		case best == nil || p.spec.Version > best.spec.Version:
			best = p
		}
	}
	return best, bad
}

// Enforced returns the version of the policy that a data folder has for a node, if it refuses connections of
// any workload; 0 else.
func Enforced(dir, node string) uint64 {
	if k, _ := readNewest(policyFile(dir, node)); k != nil && k.spec.Enforces() {
		return k.spec.Version
	}
	return 0
}

func (k *keeper) setTrouble(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.trouble = text
}

// warning returns why a policy on disk is unusable or not written; "" for nothing. It is safe for concurrent
// use.
func (k *keeper) warning() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.trouble
}

func readPolicy(path string) (*kept, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// Files of earlier versions have no checksum.
	if at := bytes.LastIndex(data, []byte(trailer)); at >= 0 {
		sum := sha256.Sum256(data[:at])
		if hex.EncodeToString(sum[:]) != strings.TrimSpace(string(data[at+len(trailer):])) {
			return nil, errors.New("the file is damaged: its checksum does not match")
		}
		data = data[:at]
	}
	s := new(policy.Spec)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("the file is damaged: %w", err)
	}
	table, err := policy.Compile(s)
	if err != nil {
		return nil, err
	}
	return &kept{s, table}, nil
}
