package uplink

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protodelim"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/atomicfile"
)

// spool stores unacknowledged requests on disk, so that they survive a kill of the agent: its next run
// sends them, under the old run and numbers. A file has requests with the numbers first to last; one
// whose range includes others' replaces them. Files are renamed into place, not synced: they survive the
// process, not a loss of power. The uplink's goroutine writes, the sender removes acknowledged files.
type spool struct {
	dir  string
	life uint64 // of this agent, larger than those of all files
	log  *slog.Logger
	full bool // the last write failed
}

// segment is one file.
type segment struct {
	path              string
	life, first, last uint64
	size              int64
}

// maxSpool bounds the files of previous runs, bytes.
const maxSpool = 256 << 20

// maxRecord bounds one request on disk, against corrupt files.
const maxRecord = 4 << 20

// openSpool opens a folder, created if missing, and returns its files, oldest first.
func openSpool(dir string, log *slog.Logger) (*spool, []segment, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("open the folder of unsent reports: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open the folder of unsent reports: %w", err)
	}
	s := &spool{dir: dir, life: 1, log: log}
	var all []segment
	for _, e := range entries {
		g := segment{path: filepath.Join(dir, e.Name())}
		if strings.HasSuffix(e.Name(), atomicfile.Suffix) {
			s.remove(&g)
			continue
		}
		if n, err := fmt.Sscanf(e.Name(), segmentName, &g.life, &g.first, &g.last); n != 3 || err != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			g.size = info.Size()
		}
		s.life = max(s.life, g.life+1)
		all = append(all, g)
	}
	return s, s.tidy(all), nil
}

const segmentName = "%016x-%020d-%020d"

// tidy removes replaced files, and the oldest ones beyond maxSpool.
func (s *spool) tidy(all []segment) (left []segment) {
	var total int64
	for i := range all {
		g := &all[i]
		if slices.ContainsFunc(all, g.within) {
			s.remove(g)
			continue
		}
		total += g.size
		left = append(left, *g)
	}
	slices.SortFunc(left, func(a, b segment) int { return strings.Compare(filepath.Base(a.path), filepath.Base(b.path)) })
	for total > maxSpool {
		s.log.Error("unsent reports beyond size limit, oldest dropped", "file", left[0].path, "bytes", left[0].size)
		s.remove(&left[0])
		total -= left[0].size
		left = left[1:]
	}
	return left
}

// within reports whether o is another file that holds all of g's numbers.
func (g *segment) within(o segment) bool {
	return o.life == g.life && o.first <= g.first && o.last >= g.last && o.path != g.path
}

// putRequests writes requests as the numbers first to last. After an error there is no file.
func (s *spool) putRequests(first, last uint64, rs []*controlv1.ReportConnectionsRequest) (*segment, error) {
	g := &segment{life: s.life, first: first, last: last}
	g.path = filepath.Join(s.dir, fmt.Sprintf(segmentName, g.life, first, last))
	err := g.write(rs)
	if (err != nil) != s.full {
		s.full = err != nil
		if s.full {
			s.log.Error("unsent reports not on disk, a kill loses them", "error", err)
		} else {
			s.log.Info("unsent reports on disk again")
		}
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (g *segment) write(rs []*controlv1.ReportConnectionsRequest) error {
	f, err := atomicfile.Create(g.path, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, r := range rs {
		n, err := protodelim.MarshalTo(w, r)
		g.size += int64(n)
		if err != nil {
			return errors.Join(err, f.Abort())
		}
	}
	if err := w.Flush(); err != nil {
		return errors.Join(err, f.Abort())
	}
	return f.CommitUnsynced() // survives the process, without a sync for each report
}

// read returns the requests of a file; with an error, the readable ones.
func (g *segment) read() (rs []*controlv1.ReportConnectionsRequest, err error) {
	f, err := os.Open(g.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		m := new(controlv1.ReportConnectionsRequest)
		err := protodelim.UnmarshalOptions{MaxSize: maxRecord}.UnmarshalFrom(r, m)
		if errors.Is(err, io.EOF) {
			return rs, nil
		}
		if err != nil {
			return rs, fmt.Errorf("%s: %w", g.path, err)
		}
		rs = append(rs, m)
	}
}

// remove removes a file; nil is none.
func (s *spool) remove(g *segment) {
	if g == nil {
		return
	}
	if err := os.Remove(g.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Controllers ignore its numbers if it is sent again.
		s.log.Warn("sent reports not removed from disk", "error", err)
	}
}
