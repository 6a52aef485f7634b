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

// keeper keeps the last good policy on disk, for a start while the store is away, and the one before in
// case that file is damaged.
type keeper struct {
	path  string // "" keeps none
	log   *slog.Logger
	newer chan *policy.Spec
}

// keepAgain is how long to wait after the disk would not take a policy.
const keepAgain = 5 * time.Second

func newKeeper(dir, node string, log *slog.Logger) *keeper {
	k := &keeper{log: log, newer: make(chan *policy.Spec, 1)}
	if dir != "" {
		k.path = filepath.Join(dir, "policy-"+fileName(node)+".json")
	}
	return k
}

// fileName makes a node's name safe for a file.
func fileName(node string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '_'
		}
		return r
	}, node)
}

// offer has a policy kept, in the place of one that waits. One goroutine calls it.
func (k *keeper) offer(s *policy.Spec) {
	select {
	case <-k.newer:
	default:
	}
	k.newer <- s
}

// run keeps what is offered until ctx ends, and what waits then.
func (k *keeper) run(ctx context.Context) {
	var due *policy.Spec // what the disk has not taken yet
	again := time.NewTicker(keepAgain)
	defer again.Stop()
	try := func() {
		err := k.keep(due)
		if err == nil {
			due = nil
			return
		}
		k.log.Error("policy not kept on disk: until it is, a start without a controller takes an older one; trying again", "version", due.Version, "error", err)
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

// keep writes a policy to disk: what is there under the name is whole, also after a loss of power.
func (k *keeper) keep(s *policy.Spec) error {
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

// restore is the policy kept on disk; nil if there is none that can be used.
func (k *keeper) restore() *policy.Table {
	if k.path == "" {
		return nil
	}
	for _, path := range []string{k.path, k.path + suffixBefore} {
		t, err := readPolicy(path)
		switch {
		case err == nil:
			k.log.Info("policy kept on disk in force", "version", t.Version())
			return t
		case !errors.Is(err, fs.ErrNotExist):
			k.log.Error("policy kept on disk is not usable", "file", path, "error", err)
		}
	}
	return nil
}

func readPolicy(path string) (*policy.Table, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// Files of earlier versions of the program have no sum.
	if at := bytes.LastIndex(data, []byte(trailer)); at >= 0 {
		sum := sha256.Sum256(data[:at])
		if hex.EncodeToString(sum[:]) != strings.TrimSpace(string(data[at+len(trailer):])) {
			return nil, errors.New("the file is damaged: its sum does not match")
		}
		data = data[:at]
	}
	var s policy.Spec
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("the file is damaged: %w", err)
	}
	return policy.Compile(&s)
}
