package http2

import (
	"encoding/binary"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// grpcPrefix is the length of the prefix of a gRPC message: a flag and a length.
const grpcPrefix = 5

// fields is what matters of the header block that a side is sending.
type fields struct {
	pushed  bool
	method  string
	path    string
	host    string
	agent   string
	status  string
	server  string
	content string
	code    string // grpc-status
	unknown bool   // a field of a table entry that was missed
}

// field takes one decoded header field.
func (h *half) field(f hpack.HeaderField) {
	n := &h.now
	switch f.Name {
	case "":
		n.unknown = true
	case ":method":
		n.method = f.Value
	case ":path":
		n.path = f.Value
	case ":authority":
		n.host = f.Value
	case "host":
		if n.host == "" {
			n.host = f.Value
		}
	case "user-agent":
		n.agent = f.Value
	case ":status":
		n.status = f.Value
	case "server":
		n.server = f.Value
	case "content-type":
		n.content = f.Value
	case "grpc-status":
		n.code = f.Value
	}
}

// headers takes a whole header block.
func (s *stream) headers(n *fields, stream uint32) {
	switch {
	case n.pushed:
	case n.code != "" || n.status != "":
		s.response(n, stream)
	case n.method != "" || n.path != "":
		s.request(n, stream)
	}
}

// request names the application by the first request.
func (s *stream) request(n *fields, stream uint32) {
	if s.named {
		return
	}
	grpc := isGRPC(n.content)
	if !grpc && s.midstream && n.unknown && n.content == "" && (n.method == "" || n.method == "POST") {
		return // its content type may have been missed: the data decide
	}
	s.exchange = stream
	s.report(parsers.Host, n.host)
	s.report(parsers.UserAgent, n.agent)
	if grpc {
		s.reportGRPC(n.path)
		return
	}
	s.report(parsers.Method, n.method)
	path, _, _ := strings.Cut(n.path, "?")
	s.report(parsers.Path, path)
	s.named = true
}

// reportGRPC reports gRPC, and its service.
func (s *stream) reportGRPC(path string) {
	s.report(parsers.Service, path)
	s.grpc, s.named = true, true
	if strings.HasPrefix(path, "/etcdserverpb.") {
		s.sink.App(app.Etcd)
		return
	}
	s.sink.App(app.GRPC)
}

// response reports the answer of the reported request, not another that shares the connection; where the
// request was
// missed, it names the application.
func (s *stream) response(n *fields, stream uint32) {
	interim := len(n.status) == 3 && n.status[0] == '1'
	if interim {
		return
	}
	s.report(parsers.Software, n.server)
	if !s.named {
		switch {
		case isGRPC(n.content), n.code != "":
			s.reportGRPC("")
		case s.midstream && n.unknown && n.content == "":
			return
		default:
			s.named = true
		}
	}
	if s.exchange == 0 {
		s.exchange = stream
	}
	switch {
	case s.exchange != stream:
	case n.code != "":
		s.report(parsers.Status, n.code)
		s.answered = true
	case !s.grpc:
		s.report(parsers.Status, n.status)
		s.answered = n.status != ""
	}
}

func (s *stream) report(a parsers.Attr, v string) {
	if v != "" {
		s.sink.Attr(a, []byte(v[:min(len(v), maxAttr)]))
	}
}

// maxAttr is where the contract cuts values.
const maxAttr = 256

// isGRPC knows a content type of gRPC; gRPC-Web is another protocol.
func isGRPC(content string) bool {
	rest, ok := strings.CutPrefix(content, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// data judges the first data frame behind headers in midstream: does it hold exactly one
// gRPC message?
func (s *stream) data(h *half, f frame, b []byte) {
	if !h.peek || f.length == 0 {
		return
	}
	h.peek = false
	if s.named {
		return
	}
	if len(b) < grpcPrefix || f.flags&flagPadded != 0 || b[0] > 1 || int64(binary.BigEndian.Uint32(b[1:]))+grpcPrefix != int64(f.length) {
		s.named = true // no gRPC, or none that shows: plain http2
		return
	}
	if s.messages++; s.messages == 2 {
		s.reportGRPC("")
	}
}
