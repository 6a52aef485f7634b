package http2

import (
	"encoding/binary"

	"golang.org/x/net/http2/hpack"

	"github.com/sluicenet/sluice/parsers"
)

// Limits.
const (
	maxString = 16 << 10 // a header's name or value
	maxBlock  = 64 << 10 // bytes of one header block
	maxTable  = 64 << 10 // dynamic table that a peer may ask for
	maxFrames = 128      // frames that are read once the application is known
	maxGuess  = 16       // frames within which gRPC must show itself in midstream
	firstSize = 4096     // dynamic table at the beginning
	minEntry  = 32       // what the smallest entry of a table counts
)

// half is one side of a session.
type half struct {
	begun bool // the preface was passed, or there was none
	over  bool // its frames are not followed any more
	blind bool // its headers cannot be decoded any more
	open  bool // a header block has begun and not ended
	skip  int  // bytes to pass over
	frag  int  // bytes of the current header block fragment
	pad   int  // bytes of padding behind it
	block int  // bytes of the block so far
	frame frame
	clean bool // no byte of an unfinished frame is waiting
	peek  bool // the next data frame is the first behind headers
	dec   *hpack.Decoder
	now   fields
}

// stream reads one session's frames.
type stream struct {
	sink      parsers.Sink
	side      [2]half
	midstream bool
	named     bool
	grpc      bool
	answered  bool
	frames    int
	exchange  uint32 // the stream that is reported; 0 before
	messages  int    // data frames that hold exactly one gRPC message
}

var _ parsers.Stream = (*stream)(nil)

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	h := &s.side[dir]
	used := 0
	h.clean = true
	for used < len(data) && !h.over && !s.done() {
		n := s.step(dir, data[used:])
		if n == 0 {
			h.clean = false
			return parsers.Result{Used: used, State: s.state()}
		}
		used += n
	}
	if h.over {
		used = len(data)
		h.dec = nil
		if !s.named && (s.midstream || dir == parsers.ToServer) {
			s.named = true // no request can be read: plain http2
		}
	}
	return parsers.Result{Used: used, State: s.state()}
}

// done reports whether nothing more is read, wherever the segment ends.
func (s *stream) done() bool { return s.named && (s.answered || s.frames > maxFrames) }

func (s *stream) state() parsers.State {
	c := &s.side[parsers.ToServer]
	switch {
	case s.done(), s.side[0].over && s.side[1].over:
		return parsers.Done
	case s.named:
		return parsers.Named
	case !s.midstream && !c.open && c.skip == 0 && (c.clean || !c.begun):
		return parsers.Preamble
	}
	return parsers.Undecided
}

// Gap implements parsers.Stream: a gap within a body is harmless, any other loses the frames.
func (s *stream) Gap(dir parsers.Dir, n int) bool {
	h := &s.side[dir]
	if h.clean && n > 0 && n <= h.skip {
		h.skip -= n
		return true
	}
	h.over, h.dec = true, nil
	if dir == parsers.ToServer && !s.named {
		return false
	}
	return !s.side[dir.Reverse()].over
}

// Close implements parsers.Stream.
func (s *stream) Close() { s.side[0].dec, s.side[1].dec = nil, nil }

// step reads a frame header with what belongs to it, or a part of a payload. 0: it needs more bytes.
func (s *stream) step(dir parsers.Dir, data []byte) int {
	h := &s.side[dir]
	switch {
	case h.skip > 0:
		n := min(h.skip, len(data))
		h.skip -= n
		return n
	case h.frag > 0:
		n := min(h.frag, len(data))
		s.fragment(h, data[:n])
		return n
	case !h.begun:
		switch probePreface(data) {
		case parsers.More:
			return 0
		case parsers.Likely:
			h.begun = true
			return len(preface)
		}
		h.begun = true
	}
	if len(data) < frameHeader {
		return 0
	}
	f := header(data)
	f.stream &= 1<<31 - 1 // RFC 9113 4.1: the reserved bit is ignored
	if !f.legal() || h.open != (f.kind == frameContinuation) || h.open && f.stream != h.frame.stream {
		h.over = true // RFC 9113 4.3: no other frame is between those of a header block
		return len(data)
	}
	return s.frameOf(dir, f, data)
}

// frameOf begins one frame.
func (s *stream) frameOf(dir parsers.Dir, f frame, data []byte) int {
	h := &s.side[dir]
	need := 0 // bytes of the payload that are looked at
	switch {
	case f.kind == frameHeaders || f.kind == framePush:
		need = f.prefix()
	case f.kind == frameSettings && f.length <= maxSettings:
		need = f.length
	case f.kind == frameData && h.peek && f.length > 0:
		need = min(f.length, grpcPrefix)
	}
	if need > f.length {
		h.over = true
		return len(data)
	}
	if len(data) < frameHeader+need {
		return 0
	}
	payload := data[frameHeader : frameHeader+need]
	s.frames++
	h.skip = f.length - need
	switch f.kind {
	case frameHeaders, framePush, frameContinuation:
		s.begin(h, f, payload)
	case frameSettings:
		s.settings(dir.Reverse(), payload)
	case frameData:
		s.data(h, f, payload)
	}
	if s.midstream && !s.named && s.frames >= maxGuess {
		s.named = true
	}
	return frameHeader + need
}

// settings notes how large a table the other side's encoder may use.
func (s *stream) settings(other parsers.Dir, b []byte) {
	for ; len(b) >= settingSize; b = b[settingSize:] {
		if binary.BigEndian.Uint16(b) == tableSize {
			s.decoder(&s.side[other]).SetAllowedMaxDynamicTableSize(min(binary.BigEndian.Uint32(b[2:]), maxTable))
		}
	}
}

// begin starts a header block fragment; payload includes its prefix.
func (s *stream) begin(h *half, f frame, payload []byte) {
	h.frame = f
	h.pad = 0
	if f.kind != frameContinuation {
		h.block, h.open = 0, true
		h.now = fields{pushed: f.kind == framePush}
		if f.flags&flagPadded != 0 {
			h.pad = int(payload[0])
		}
	}
	h.frag, h.skip = f.length-len(payload)-h.pad, 0
	if h.frag < 0 {
		h.over = true
		return
	}
	if h.frag == 0 {
		s.fragment(h, nil)
	}
}

// fragment decodes a part of a header block.
func (s *stream) fragment(h *half, b []byte) {
	h.frag -= len(b)
	h.block += len(b)
	if h.block > maxBlock {
		h.over = true
		return
	}
	if !h.blind && len(b) > 0 {
		if _, err := s.decoder(h).Write(b); err != nil {
			s.lost(h)
		}
	}
	if h.frag > 0 || h.over {
		return
	}
	h.skip = h.pad
	if h.frame.flags&flagEndHeaders == 0 {
		return
	}
	if !h.blind && s.decoder(h).Close() != nil {
		s.lost(h)
	}
	h.open = false
	h.peek = s.midstream && !h.now.pushed && h.frame.flags&flagEndStream == 0
	if !h.over {
		s.headers(&h.now, h.frame.stream)
		h.now = fields{}
	}
}

// lost is where a side's headers make no sense any more. In midstream its data may still
// show; from the beginning on it is a broken peer.
func (s *stream) lost(h *half) {
	h.blind, h.dec = true, nil
	h.over = !s.midstream
}

// decoder is a side's HPACK decoder. In midstream its table is filled with empty entries in place of those that
// were missed, as many as fit: new entries are counted from the newest, so those that are seen are found.
func (s *stream) decoder(h *half) *hpack.Decoder {
	if h.dec != nil {
		return h.dec
	}
	h.dec = hpack.NewDecoder(firstSize, h.field)
	h.dec.SetMaxStringLength(maxString)
	if s.midstream {
		h.dec.SetEmitEnabled(false)
		for range firstSize / minEntry {
			_, _ = h.dec.Write([]byte{0x40, 0, 0}) // literal with indexing, both strings empty
		}
		h.dec.Close()
		h.dec.SetEmitEnabled(true)
	}
	return h.dec
}
