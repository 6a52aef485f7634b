package http2

import "encoding/binary"

// Frame types, RFC 9113 6.
const (
	frameData         = 0
	frameHeaders      = 1
	framePriority     = 2
	frameReset        = 3
	frameSettings     = 4
	framePush         = 5
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9
)

// Frame flags.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Sizes.
const (
	frameHeader = 9
	settingSize = 6
	lastSetting = 9       // the highest registered setting
	tableSize   = 1       // SETTINGS_HEADER_TABLE_SIZE
	maxFrame    = 1 << 14 // the default frame size
	maxStream   = 1 << 29 // stream number that is believed in midstream
)

// frame is a frame's header.
type frame struct {
	length int
	kind   uint8
	flags  uint8
	stream uint32
}

// header reads a frame header; b has at least nine bytes.
func header(b []byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   b[3], flags: b[4], stream: binary.BigEndian.Uint32(b[5:]),
	}
}

// allowed is the flags that each type defines.
var allowed = [...]uint8{
	frameData: flagEndStream | flagPadded, frameHeaders: flagEndStream | flagEndHeaders | flagPadded | flagPriority,
	frameSettings: flagAck, framePush: flagEndHeaders | flagPadded, framePing: flagAck, frameContinuation: flagEndHeaders,
}

// legal reports whether a header keeps the rules whose breach ends a connection.
func (f frame) legal() bool {
	connection := f.stream == 0
	switch f.kind {
	case frameData, frameHeaders, framePush, frameContinuation:
		return !connection
	case framePriority:
		return !connection && f.length == 5
	case frameReset:
		return !connection && f.length == 4
	case frameSettings:
		return connection && f.length%settingSize == 0 && (f.flags&flagAck == 0 || f.length == 0)
	case framePing:
		return connection && f.length == 8
	case frameGoAway:
		return connection && f.length >= 8
	case frameWindow:
		return f.length == 4
	}
	return true
}

// sound is legal and, where nothing else vouches for the bytes, what real peers send: flags that exist, no reserved
// bit, streams of the client, usual lengths.
func (f frame) sound() bool {
	if !f.legal() || f.length > maxFrame || f.stream >= maxStream || f.stream != 0 && f.stream%2 == 0 {
		return false
	}
	if int(f.kind) >= len(allowed) {
		return f.kind == 0x0a || f.kind == 0x0c || f.kind == 0x10 // ALTSVC, ORIGIN, PRIORITY_UPDATE
	}
	return f.flags&^allowed[f.kind] == 0
}

// plausible judges a whole frame's payload in midstream.
func (f frame) plausible(payload []byte) bool {
	switch f.kind {
	case frameWindow:
		n := binary.BigEndian.Uint32(payload)
		return n != 0 && n < 1<<31
	case frameSettings:
		for ; len(payload) >= settingSize; payload = payload[settingSize:] {
			if id := binary.BigEndian.Uint16(payload); id == 0 || id > lastSetting && id&0x0f0f != 0x0a0a {
				return false
			}
		}
	case frameReset:
		return binary.BigEndian.Uint32(payload) <= 0x0d
	case frameHeaders:
		k := f.prefix()
		return len(payload) > k && payload[k] != 0x80 // index 0 does not exist (RFC 7541 6.1)
	}
	return true
}

// prefix returns the number of bytes before a header block fragment.
func (f frame) prefix() int {
	n := 0
	if f.kind != frameContinuation && f.flags&flagPadded != 0 {
		n++
	}
	if f.kind == frameHeaders && f.flags&flagPriority != 0 {
		n += 5
	}
	if f.kind == framePush {
		n += 4
	}
	return n
}
