package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/store"
)

// The journal has the reports that were acknowledged and are not in the stored graph yet. Another
// controller that takes over finds there what this one knew: an acknowledged report is never lost and
// not counted twice. It is kept only with Config.Journal.
const keyJournal = "journal/"

// journalBytes is how large the journal may grow before the graph is stored, which empties it.
const journalBytes = 8 << 20

// journal is what was written and not emptied yet. The server's lock guards it.
type journal struct {
	keys  []string
	bytes int
}

// journalKey is where a report is kept. Names of nodes and boots may be longer than a key.
func journalKey(r *controlv1.ReportConnectionsRequest) string {
	sum := sha256.Sum256([]byte(r.Node + "\x00" + r.Run))
	return fmt.Sprintf("%s%s/%020d", keyJournal, hex.EncodeToString(sum[:12]), r.Sequence)
}

// write has a report stored with the next apply. The lock is held.
func (c *collector) write(r *controlv1.ReportConnectionsRequest) error {
	s := c.s
	data, err := proto.Marshal(r)
	if err != nil {
		return fmt.Errorf("pack report: %w", err)
	}
	op := put(journalKey(r), data)
	s.dirty[op.Key] = op
	s.journal.keys = append(s.journal.keys, op.Key)
	if s.journal.bytes += len(data); s.journal.bytes > journalBytes {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
	return nil
}

// emptyJournal deletes what the stored graph has by now. A report that was to be stored and is in the graph
// already needs no store. change is held.
func emptyJournal(ctx context.Context, s *Server, keys []string) error {
	var ops []store.Op
	s.mu.Lock()
	for _, key := range keys {
		delete(s.dirty, key)
		ops = append(ops, store.Op{Key: key, Delete: true, Revision: store.Any})
	}
	s.mu.Unlock()
	for chunk := range store.Chunks(ops) {
		if _, err := s.st.Commit(ctx, chunk...); err != nil {
			// The reports stay; they are known by their sequence when they are read again.
			return fmt.Errorf("empty journal: %w", err)
		}
	}
	return nil
}

// replay counts what the controller before had taken and not stored in the graph.
func (s loader) replay(ctx context.Context) error {
	list, _, err := s.st.List(ctx, keyJournal)
	if err != nil {
		return err
	}
	s.replaying = true
	defer func() { s.replaying = false }()
	for _, o := range list {
		r := new(controlv1.ReportConnectionsRequest)
		if err := proto.Unmarshal(o.Value, r); err != nil {
			s.log.Error("report in journal unreadable, skipped", "key", o.Key, "error", err)
			continue
		}
		s.count(r) // what it taught was stored before it
	}
	s.journal = journal{}
	for _, o := range list {
		s.journal.keys = append(s.journal.keys, o.Key)
	}
	if len(list) > 0 {
		s.unsaved = true
		s.log.Info("reports of the previous leader taken over", "reports", len(list))
	}
	return nil
}
