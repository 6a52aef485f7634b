package http

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// maxInterim bounds the 1xx responses before the final one.
const maxInterim = 8

// maxRetries bounds the requests for a tunnel that a proxy refuses before one is read that it does not.
const maxRetries = 4

// part is how far one side's first message was read.
type part uint8

const (
	start  part = iota // before the start line
	fields             // in the header fields
	rest               // regardless of what follows
)

// half is one side of a session.
type half struct {
	part     part
	response bool
	interim  uint8
	left     int // bytes of the header block that are still read
	skip     int // bytes of a body to pass over
	length   int // Content-Length; -1 where there is another or no length
	scanned  int // bytes of the unfinished line that hold no newline
	status   int
	hints    hints
}

// stream reads one session.
type stream struct {
	sink      parsers.Sink
	side      [2]half
	digits    [3]byte // the status, lent to the sink
	path      app.ID  // what the request's path gives away
	midstream bool
	orphaned  bool // a response without a seen request: later requests are another exchange
	named     bool
	asked     bool // a request's line was read
	request   bool // a request's header block was read
	response  bool // a response's was
	connects  bool // the request is for a tunnel
	upgrades  bool // it offers another protocol, which is not WebSocket
	retries   uint8
}

var _ parsers.Stream = (*stream)(nil)

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	h := &s.side[dir]
	used := 0
	for h.part != rest && used < len(data) {
		n := min(h.skip, len(data)-used)
		if h.skip -= n; n == 0 {
			n = s.line(h, data[used:])
		}
		if n == 0 {
			return parsers.Result{Used: used, State: s.state()}
		}
		used += n
	}
	if state := s.state(); state == parsers.Upgraded || h.part != rest || s.waits(dir) {
		return parsers.Result{Used: used, State: state}
	}
	return parsers.Result{Used: len(data), State: s.state()}
}

// waits reports whether what is behind a side's header block may be another protocol: behind a request that asks for
// it until the response, and behind a response until the request was read.
func (s *stream) waits(dir parsers.Dir) bool {
	if s.midstream {
		return false
	}
	if dir == parsers.ToServer {
		return (s.connects || s.upgrades) && !s.response
	}
	return !s.request
}

// upgraded reports whether the response agrees to another protocol (RFC 9110 7.8, 9.3.6).
func (s *stream) upgraded() bool {
	status := s.side[parsers.ToClient].status
	return s.connects && status/100 == 2 || s.upgrades && status == 101
}

func (s *stream) state() parsers.State {
	switch {
	case s.request && s.response && s.upgraded():
		return parsers.Upgraded
	case s.request && s.response:
		return parsers.Done
	case s.named:
		return parsers.Named
	}
	return parsers.Undecided
}

// Gap implements parsers.Stream: without its header block a side has nothing to report.
func (s *stream) Gap(dir parsers.Dir, _ int) bool {
	s.side[dir].part = rest
	return s.named
}

// Close implements parsers.Stream.
func (s *stream) Close() {}

// line reads one line and returns how many bytes it used; 0: it is not complete.
func (s *stream) line(h *half, data []byte) int {
	window := data[:min(len(data), h.left)]
	at := bytes.IndexByte(window[min(h.scanned, len(window)):], '\n')
	if at < 0 {
		if len(window) < h.left {
			h.scanned = len(window)
			return 0
		}
		// The block is longer than what is read: what was seen must do.
		if h.part == start {
			s.start(h, window)
		}
		s.endBody(h)
		return len(window)
	}
	at += h.scanned
	h.scanned = 0
	h.left -= at + 1
	line := bytes.TrimRight(window[:at], "\r")
	switch {
	case h.part == start && len(line) == 0: // RFC 9112 2.2: empty lines before a request are skipped
	case h.part == start:
		s.start(h, line)
	case len(line) == 0:
		s.endBody(h)
	default:
		s.field(h, line)
	}
	if h.left == 0 && h.part != rest {
		s.endBody(h)
	}
	return at + 1
}

// start reads a request line or a status line.
func (s *stream) start(h *half, line []byte) {
	h.part = fields
	line = bytes.TrimLeft(line, " ")
	if statusLine(line) {
		h.response = true
		s.orphaned = s.midstream && !s.asked
		h.status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
		return
	}
	n := token(line)
	if n < 2 || n > maxMethod || n == len(line) || line[n] != ' ' {
		h.part = rest // no HTTP on this side
		return
	}
	if s.asked = true; s.orphaned {
		return
	}
	method, target := line[:n], bytes.TrimLeft(line[n+1:], " ")
	if versioned(line) {
		target = bytes.TrimRight(target, "\r \t")
		target = bytes.TrimRight(target[:max(0, len(target)-len("HTTP/1.1"))], " \t")
	}
	s.sink.Attr(parsers.Method, method)
	if string(method) == "CONNECT" {
		s.connects = true
		s.sink.Attr(parsers.Host, target)
		return
	}
	path := s.authority(target)
	if i := bytes.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	s.sink.Attr(parsers.Path, path)
	s.path = ridingOnPath(path)
}

// authority reports the host of an absolute URI, which outranks the Host field (RFC 9112 3.2.2),
// and gives the rest of the target.
func (s *stream) authority(target []byte) []byte {
	if uri(target) != parsers.Likely {
		return target
	}
	target = target[bytes.IndexByte(target, '/')+2:]
	i := bytes.IndexAny(target, "/?#")
	if i < 0 {
		i = len(target)
	}
	s.sink.Attr(parsers.Host, target[:i])
	if i == len(target) {
		return []byte("/")
	}
	return target[i:]
}

// endBody is where a header block ends.
func (s *stream) endBody(h *half) {
	switch {
	case h.part == rest:
		return
	case h.response && h.status < 200 && h.status != 101 && h.interim < maxInterim:
		*h = half{interim: h.interim + 1, left: maxBlock, length: -1} // an interim response: the next one counts
		return
	}
	h.part = rest
	if h.response {
		s.response = true
		s.digits = [3]byte{byte('0' + h.status/100), byte('0' + h.status/10%10), byte('0' + h.status%10)}
		s.sink.Attr(parsers.Status, s.digits[:])
	} else {
		s.request = true
	}
	s.name(h)
	if s.request && s.response && s.connects && s.side[parsers.ToClient].status == 407 {
		s.retry()
	}
}

// retry awaits another request behind one that a proxy refused because there are no credentials.
func (s *stream) retry() {
	length := s.side[parsers.ToClient].length
	if length < 0 || s.retries == maxRetries || s.midstream {
		return
	}
	s.retries++
	s.side = [2]half{parsers.ToServer: {left: maxBlock}, parsers.ToClient: {left: maxBlock, skip: length, length: -1}}
	s.connects, s.request, s.response = false, false, false
}

// name settles the application. The first block decides: a request that is held must
// be decidable by itself, so a response is used only if its request was missed.
func (s *stream) name(h *half) {
	if s.named {
		return
	}
	s.named = true
	id := h.riding()
	if id == app.Unknown && !h.response && h.hints&vaultHint == 0 {
		id = s.path
	}
	if id != app.Unknown {
		s.sink.App(id)
	}
}
