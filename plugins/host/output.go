package host

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Bounds of what a plugin may write into the log.
const (
	maxLine        = 512 // bytes of a line; the rest of it is cut
	lineBurst      = 20
	linesPerSecond = 5
)

// output logs a plugin's standard output and standard error, at a bounded rate. It outlives the plugin's
// process. It is safe for concurrent use.
type output struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex // guards everything below
	room    float64    // lines that may be written at once
	filled  time.Time  // when room was computed
	dropped uint64     // lines since the last logged one
	last    string     // the newest line of this run
	fatal   string     // why the Go runtime ended this run; "" if it did not
}

func newOutput(log *slog.Logger) *output {
	return &output{log: log, now: time.Now, room: lineBurst, filled: time.Now()}
}

// begin clears the output of a previous run.
func (o *output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last, o.fatal = "", ""
}

// lastWords returns the newest line of this run and the reason why the Go runtime ended it.
func (o *output) lastWords() (last, fatal string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.fatal
}

// write logs one line if the rate allows.
func (o *output) write(stream, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = text
	if o.fatal == "" && stream == stderrName && (strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")) {
		o.fatal = text
	}
	now := o.now()
	o.room = min(lineBurst, o.room+linesPerSecond*max(0, now.Sub(o.filled).Seconds()))
	o.filled = now
	if o.room < 1 {
		o.dropped++
		return
	}
	o.room--
	o.reportDroppedLocked()
	o.log.Warn("plugin output", "stream", stream, "line", text)
}

// reportDropped logs the number of dropped lines.
func (o *output) reportDropped() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reportDroppedLocked()
}

// reportDroppedLocked is reportDropped with the lock held.
func (o *output) reportDroppedLocked() {
	if o.dropped > 0 {
		o.log.Warn("plugin output not logged: too many lines", "lines", o.dropped)
		o.dropped = 0
	}
}

// Names of a plugin's streams in the log.
const (
	stdoutName = "stdout"
	stderrName = "stderr"
)

// stream returns a writer of one of the plugin's streams. One goroutine may use it.
func (o *output) stream(name string) io.Writer { return &lines{o: o, name: name} }

// lines splits a stream into lines.
type lines struct {
	o    *output
	name string
	rest []byte // of an incomplete line; at most maxLine bytes
	cut  bool   // the line was longer: the rest of it is dropped
}

// Write implements io.Writer.
func (w *lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		b = rest
		keep := min(len(part), maxLine-len(w.rest))
		w.rest = append(w.rest, part[:keep]...)
		w.cut = w.cut || keep < len(part)
		if whole {
			w.flush()
		}
	}
	return n, nil
}

func (w *lines) flush() {
	text := strings.ToValidUTF8(string(bytes.TrimSpace(w.rest)), "?") // messages must be valid UTF-8
	if w.cut {
		text += "..."
	}
	w.rest, w.cut = w.rest[:0], false
	if text != "" {
		w.o.write(w.name, text)
	}
}

// handshakeLine is what go-plugin waits for on standard output.
var handshakeLine = regexp.MustCompile(`^[0-9]+\|[0-9]+\|(unix|tcp)\|`)

// handshake is a plugin's standard output for go-plugin: only the first line in the form of the
// handshake. Other lines are logged, so that a plugin may print before it serves.
type handshake struct {
	from *bufio.Reader
	io.Closer
	rest *lines
	line []byte // pending result of Read
	seen bool
}

func newHandshake(from io.ReadCloser, to io.Writer) *handshake {
	return &handshake{from: bufio.NewReader(from), Closer: from, rest: to.(*lines)}
}

// Read implements io.Reader.
func (h *handshake) Read(b []byte) (int, error) {
	for len(h.line) == 0 {
		line, err := h.from.ReadSlice('\n') // or a full buffer
		if !h.seen && handshakeLine.Match(line) {
			h.seen, h.line = true, bytes.Clone(line)
			break
		}
		_, _ = h.rest.Write(line)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			h.rest.flush()
			return 0, err
		}
	}
	n := copy(b, h.line)
	h.line = h.line[n:]
	return n, nil
}
