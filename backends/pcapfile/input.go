package pcapfile

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Bounds of a file's requests.
const (
	// maxRecord is the longest accepted record; BIG TCP makes frames of 512 KiB.
	maxRecord = 1 << 20
	// maxUnpacked ends the reading of packed files that expand without end.
	maxUnpacked = 16 << 30
	// headroom is free in front of a record, for an Ethernet header.
	headroom = 16
	step     = 64 << 10
)

// input is a file being read, with its offset.
type input struct {
	name   string
	r      *bufio.Reader
	offset int64
	packed bool
	buf    []byte // headroom and the record
	small  [64]byte
}

// newInput unpacks input that begins like gzip.
func newInput(from io.Reader, name string) (*input, error) {
	in := &input{name: name, r: bufio.NewReaderSize(from, 64<<10), buf: make([]byte, headroom+step)}
	head, err := in.r.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(in.r)
		if err != nil {
			return nil, in.damageAt(0, "begins like a gzip file and is none: %v", err)
		}
		in.r, in.packed = bufio.NewReaderSize(z, 64<<10), true
	}
	return in, nil
}

// damageAt returns a FormatError.
func (in *input) damageAt(offset int64, text string, args ...any) error {
	return &FormatError{Name: in.name, Offset: offset, Text: fmt.Sprintf(text, args...)}
}

// ended reports whether nothing follows. Errors of the reader appear at the next read.
func (in *input) ended() bool {
	_, err := in.r.Peek(1)
	return errors.Is(err, io.EOF)
}

// takeBytes reads n bytes of a header, at most 64; they are valid until the next take.
func (in *input) takeBytes(n int, what string) ([]byte, error) {
	return in.fill(in.small[:n], n, in.offset, what)
}

// fill reads all of b, a part of n bytes of something that began at start.
func (in *input) fill(b []byte, n int, start int64, what string) ([]byte, error) {
	if in.packed && in.offset+int64(len(b)) > maxUnpacked {
		return nil, in.damageAt(in.offset, "unpacks to more than %d bytes", int64(maxUnpacked))
	}
	got, err := io.ReadFull(in.r, b)
	in.offset += int64(got)
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, in.damageAt(start, "%s of %d bytes is cut short: the file ends at byte %d", what, n, in.offset)
	case in.packed:
		return nil, in.damageAt(in.offset, "cannot be unpacked: %v", err)
	}
	return nil, fmt.Errorf("read %s: %w", in.name, err)
}

// body reads a record of n bytes, which the caller has checked against maxRecord. The buffer
// grows as bytes arrive, not as the file promises.
func (in *input) body(n int, start int64) ([]byte, error) {
	for have := 0; have < n; {
		end := min(n, have+step)
		if headroom+end > len(in.buf) {
			in.buf = append(in.buf, make([]byte, len(in.buf))...)
		}
		if _, err := in.fill(in.buf[headroom+have:headroom+end], n, start, "record"); err != nil {
			return nil, err
		}
		have = end
	}
	return in.buf[headroom : headroom+n], nil
}

// skip skips n bytes of a block that began at start.
func (in *input) skip(n, start int64) error {
	for n > 0 {
		got, err := in.r.Discard(int(min(n, step)))
		in.offset += int64(got)
		n -= int64(got)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return in.damageAt(start, "block is cut short: the file ends at byte %d, %d bytes early", in.offset, n)
		case in.packed:
			return in.damageAt(in.offset, "cannot be unpacked: %v", err)
		default:
			return fmt.Errorf("read %s: %w", in.name, err)
		}
		if in.packed && in.offset > maxUnpacked {
			return in.damageAt(in.offset, "unpacks to more than %d bytes", int64(maxUnpacked))
		}
	}
	return nil
}
