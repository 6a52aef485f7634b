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
	"time"

	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/atomicfile"
)

// keeper stores the last valid policy on disk, for a start while the store is unavailable, and the
// previous one in case that file is damaged.
type keeper struct {
	path  string // "" stores none
	log   *slog.Logger
	newer chan *policy.Spec
}

// keepAgain is the delay after a failed write.
const retryDelay = 5 * time.Second

func newKeeper(dir, node string, log *slog.Logger) *keeper {
	k := &keeper{log: log, newer: make(chan *policy.Spec, 1)}
	if dir != "" {
		k.path = filepath.Join(dir, "policy-"+fileName(node)+".json")
	}
	return k
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

// run stores what is offered until ctx ends, and what is queued then.
func (k *keeper) run(ctx context.Context) {
	var due *policy.Spec // not written yet
	again := time.NewTicker(retryDelay)
	defer again.Stop()
	try := func() {
		err := k.writePolicy(due)
		if err == nil {
			due = nil
			return
		}
		k.log.Error("policy not stored on disk, trying again", "version", due.Version, "error", err)
	}
	for ctx.Err() == nil {
		select {
		case due = <-k.newer:
			try()
		case <-again.C:
			if due != nil {
				try()
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
	suffixBefore = ".before"
	trailer      = "\nsha256 "
)

// write writes a policy to disk atomically, also against a loss of power.
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
	f, err := atomicfile.Create(k.path, 0o600)
	if err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync() // before the old file loses its name
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write policy: %w", err), f.Abort())
	}
	if err := os.Rename(k.path, k.path+suffixBefore); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("keep the previous policy: %w", err), f.Abort())
	}
	if err := f.Commit(); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	return nil
}

// restore returns the policy on disk; nil if there is no usable one.
func (k *keeper) restore() *policy.Table {
	if k.path == "" {
		return nil
	}
	for _, path := range []string{k.path, k.path + suffixBefore} {
		t, err := readPolicy(path)
		switch {
		case err == nil:
			k.log.Info("stored policy applied", "version", t.Version())
			return t
		case !errors.Is(err, fs.ErrNotExist):
			k.log.Error("stored policy unusable", "file", path, "error", err)
		}
	}
	return nil
}

func readPolicy(path string) (*policy.Table, error) {
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
	var s policy.Spec
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("the file is damaged: %w", err)
	}
	return policy.Compile(&s)
}
