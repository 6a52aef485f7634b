package ssh

import (
	"bytes"
	"crypto/md5" //nolint:gosec // HASSH is defined with MD5; it is a fingerprint and guards nothing
	"encoding/binary"
	"encoding/hex"

	"github.com/sluicenet/sluice/parsers"
)

// step is how far one direction is.
type step uint8

const (
	wantBanner step = iota
	wantKex
	finished
)

type stream struct {
	sink      parsers.Sink
	midstream bool
	at        [2]step
	passed    [2]int // bytes of lines before the banner
	text      [32]byte
}

var _ parsers.Stream = (*stream)(nil)

func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	used := 0
	for used < len(data) && s.at[dir] != finished {
		var n int
		if s.at[dir] == wantBanner {
			n = s.banner(dir, data[used:])
		} else {
			n = s.kex(dir, data[used:])
		}
		if n < 0 {
			return parsers.Result{Used: used, State: parsers.Rejected}
		}
		if n == 0 {
			break
		}
		used += n
	}
	if s.at[dir] == finished {
		used = len(data)
	}
	if s.at[0] == finished && s.at[1] == finished {
		return parsers.Result{Used: used, State: parsers.Done}
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// Gap leaves lost data unreported; the other side may still be reported.
func (s *stream) Gap(dir parsers.Dir, _ int) bool {
	s.at[dir] = finished
	return s.at[dir.Reverse()] != finished
}

func (s *stream) Close() {}

// banner reads one line; it returns the bytes used, 0 for more, -1 for "not SSH".
func (s *stream) banner(dir parsers.Dir, b []byte) int {
	end := bytes.IndexByte(b, '\n')
	isBanner := banner(b)
	switch {
	case s.midstream && isBanner == parsers.No:
		s.at[dir] = wantKex
		return s.kex(dir, b)
	case isBanner == parsers.More:
		return 0
	case isBanner == parsers.No:
		if dir == parsers.ToServer && s.at[parsers.ToClient] != wantBanner {
			s.at[dir] = finished // a server that sends SSH to a client that does not use it
			return len(b)
		}
		if dir == parsers.ToServer || s.passed[dir] > maxPreamble || end < 0 && len(b) > maxBanner {
			return -1
		}
		if end < 0 {
			return 0
		}
		s.passed[dir] += end + 1
		return end + 1
	case end < 0:
		if len(b) > maxBanner {
			s.at[dir] = finished
		}
		return 0
	}
	s.at[dir] = wantKex
	s.tellBanner(dir, bytes.TrimRight(b[:end], "\r"))
	return end + 1
}

func (s *stream) tellBanner(dir parsers.Dir, line []byte) {
	version, software, _ := bytes.Cut(line[len("SSH-"):], []byte("-"))
	if len(version) > 1 && version[0] == '1' && string(version) != "1.99" {
		s.sink.Threat(2008, "SSH protocol 1")
		s.at = [2]step{finished, finished} // its packets are others
	}
	if dir == parsers.ToServer {
		s.sink.Attr(parsers.UserAgent, software)
		return
	}
	s.sink.Attr(parsers.Version, version)
	s.sink.Attr(parsers.Software, software)
	s.sink.Attr(parsers.Banner, line)
}

// kex reads the first packet after the banner.
func (s *stream) kex(dir parsers.Dir, b []byte) int {
	if len(b) < 6 {
		return 0
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < 2 || size > parsers.MaxHead-4 || b[5] != msgKexInit {
		s.at[dir] = finished
		return len(b)
	}
	if len(b) < 4+size {
		return 0
	}
	s.at[dir] = finished
	if dir == parsers.ToServer {
		s.hassh(b[5 : 4+size])
	}
	return 4 + size
}

// hassh is the MD5 of the client's key exchange, cipher, MAC and compression lists towards the server.
func (s *stream) hassh(p []byte) {
	const firstList = 17 // after the message number and the cookie
	if len(p) < firstList {
		return
	}
	sum := md5.New() //nolint:gosec // see the import
	p = p[firstList:]
	for i := range kexLists {
		if len(p) < 4 {
			return
		}
		n := int(binary.BigEndian.Uint32(p))
		if n < 0 || n > len(p)-4 {
			return
		}
		switch i { // kex, then the lists client to server: ciphers, MACs, compression
		case 0:
			sum.Write(p[4 : 4+n])
		case 2, 4, 6:
			sum.Write([]byte{';'})
			sum.Write(p[4 : 4+n])
		}
		p = p[4+n:]
	}
	var raw [md5.Size]byte
	hex.Encode(s.text[:], sum.Sum(raw[:0]))
	s.sink.Attr(parsers.HASSH, s.text[:])
}
