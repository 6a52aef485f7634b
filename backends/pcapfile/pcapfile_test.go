package pcapfile_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/backends/pcapfile"
	"github.com/sluicenet/sluice/core/packet"
)

var (
	le order = binary.LittleEndian
	be order = binary.BigEndian
)

func TestPcapVariants(t *testing.T) {
	for _, c := range []struct {
		name  string
		magic uint32
		unit  int64
		extra int
	}{
		{"us", 0xa1b2c3d4, 1000, 0},
		{"ns", 0xa1b23c4d, 1, 0},
		{"modified", 0xa1b2cd34, 1000, 8},
	} {
		for _, o := range []order{le, be} {
			t.Run(fmt.Sprint(c.name, " ", o), func(t *testing.T) {
				file := pcapFile(o, c.magic, 1|0x30000000, c.extra, packetAt{100, 7, frame4(), 0}, packetAt{101, 8, frame4(), 900})
				want := []got{{100e9 + 7*c.unit, 44, false, 53, false}, {101e9 + 8*c.unit, 900, true, 53, false}}
				out, err := read(t, file)
				if err != io.EOF || !slices.Equal(out, want) {
					t.Errorf("got %v, %v, want %v", out, err, want)
				}
				var z bytes.Buffer
				w := gzip.NewWriter(&z)
				_, _ = w.Write(file)
				_ = w.Close()
				if out, err = read(t, z.Bytes()); err != io.EOF || !slices.Equal(out, want) {
					t.Errorf("packed: got %v, %v", out, err)
				}
			})
		}
	}
}

func TestPcapng(t *testing.T) {
	for _, o := range []order{le, be} {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			simple := append(o.AppendUint32(nil, 100), frame4()...)
			obsolete := append(make([]byte, 0, 64), 0, 0, 0, 0)
			for _, v := range []uint32{0, 5e6, 44, 44} {
				obsolete = o.AppendUint32(obsolete, v)
			}
			other := be
			if o == be {
				other = le
			}
			file := slices.Concat(
				section(o),
				face(o, 1, 44),
				face(o, 101, 0, slices.Concat(option(o, 2, []byte("eth0")...), option(o, 9, 9), option(o, 14, o.AppendUint64(nil, 1000)...), option(o, 0))...),
				face(o, 228, 0, option(o, 9, 0x80|10)...),
				block(o, 5, make([]byte, 12)...), // statistics
				enhanced(o, 0, 3e6, frame4(), 44),
				block(o, 4, 1, 2, 3, 4), // names
				enhanced(o, 1, 17, udp6(), 80),
				enhanced(o, 2, 1024+512, udp4(), 30),
				block(o, 0xbad, make([]byte, 70000)...), // longer than any buffer
				block(o, 2, append(obsolete, frame4()...)...),
				block(o, 3, simple...),
				section(other),
				face(other, 12, 0),
				enhanced(other, 0, 9e6, udp6(), 50),
			)
			want := []got{
				{3e9, 44, false, 53, false},
				{1000e9 + 17, 80, true, 53, true},
				{1.5e9, 30, false, 53, false},
				{5e9, 44, false, 53, false},
				{5e9, 100, true, 53, false},
				{9e9, 50, false, 53, true},
			}
			if out, err := read(t, file); err != io.EOF || !slices.Equal(out, want) {
				t.Errorf("got %v, %v, want %v", out, err, want)
			}
		})
	}
}

func TestDamage(t *testing.T) {
	ok := pcapFile(le, 0xa1b2c3d4, 1, 0, packetAt{1, 1, frame4(), 0})
	head := ok[:24]
	ng := slices.Concat(section(le), face(le, 1, 0))
	good := enhanced(le, 0, 1, frame4(), 44)
	long := slices.Clone(good)
	long[20+3] = 0x40 // 1 GiB in a block of 100 bytes
	trailer := slices.Clone(good)
	trailer[len(trailer)-4]++
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(ok)
	_ = w.Close()
	for _, c := range []struct {
		name    string
		file    []byte
		offset  int64
		text    string
		records int
	}{
		{"empty", nil, 0, "cut short", 0},
		{"text", []byte("hello, world"), 0, "not a capture file", 0},
		{"half a header", head[:20], 4, "cut short", 0},
		{"version 9", append(append([]byte(nil), head[:4]...), append([]byte{9, 0}, head[6:]...)...), 4, "version 9", 0},
		{"record of 2 GiB", append(slices.Clone(ok), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x80), 84, "record of 2147483648 bytes", 1},
		{"record that is not there", append(slices.Clone(ok), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0), 84, "record of 196608 bytes is cut short", 1},
		{"last record cut", append(slices.Clone(ok), ok[24:60]...), 84, "record of 44 bytes is cut short: the file ends at byte 120", 1},
		{"record header cut", append(slices.Clone(ok), 1, 2, 3), 84, "record header of 16 bytes is cut short", 1},
		{"block of 8 bytes", append(slices.Clone(ng), 6, 0, 0, 0, 8, 0, 0, 0), 52, "block of 8 bytes", 0},
		{"block of 13 bytes", append(slices.Clone(ng), 6, 0, 0, 0, 13, 0, 0, 0), 52, "block of 13 bytes", 0},
		{"packet longer than its block", slices.Concat(ng, good, long), 48 + int64(len(good)), "packet of 1073741868 bytes in a block", 1},
		{"trailer", slices.Concat(ng, trailer), 48 + int64(len(good)) - 4, "ends with a length", 0},
		{"interface unknown", slices.Concat(ng, enhanced(le, 1, 1, frame4(), 44)), 48, "interface 1", 0},
		{"block cut", slices.Concat(ng, good, []byte{9, 0, 0, 0, 0, 0, 1, 0, 1}), 48 + int64(len(good)), "block is cut short", 1},
		{"no byte order", append(slices.Clone(section(le)[:8]), make([]byte, 20)...), 8, "byte order", 0},
		{"gzip that is none", []byte{0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 0, "gzip", 0},
		{"gzip cut", z.Bytes()[:z.Len()-8], 84, "cut short: the file ends at byte 84", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := read(t, c.file)
			var fe *pcapfile.FormatError
			if !errors.As(err, &fe) {
				t.Fatalf("got %v, want a FormatError", err)
			}
			if len(out) != c.records || !strings.Contains(err.Error(), c.text) || fe.Name != "test.pcap" || fe.Offset != c.offset {
				t.Errorf("got %d records, %v, want %d, byte %d: %s", len(out), err, c.records, c.offset, c.text)
			}
		})
	}
}

func TestRecordLengthAllocatesNothing(t *testing.T) {
	file := append(pcapFile(le, 0xa1b2c3d4, 1, 0), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 0) // 256 KiB, none there
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		_, _ = read(t, file)
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / 10; got > 300<<10 {
		t.Errorf("got %d bytes allocated for a file of %d", got, len(file))
	}
}

func TestOpen(t *testing.T) {
	if _, err := pcapfile.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(path, pcapFile(be, 0xa1b2c3d4, 1, 0, packetAt{1, 1, frame4(), 0}, packetAt{2, 2, []byte{1}, 0}), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := pcapfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var f packet.Frame
	for range 2 {
		if err := r.Next(&f); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.Stats(); s.Records != 2 || s.NoIP != 0 {
		t.Errorf("got %+v", s)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pcapfile.Open(path); err == nil {
		t.Error("a file of text was opened")
	}
}

func BenchmarkNext(b *testing.B) {
	packets := make([]packetAt, 1000)
	for i := range packets {
		packets[i] = packetAt{uint32(i), 0, append(frame4(), make([]byte, 500)...), 0}
	}
	file := pcapFile(le, 0xa1b2c3d4, 1, 0, packets...)
	b.SetBytes(int64(len(file)) / 1000)
	b.ReportAllocs()
	var f packet.Frame
	for n := 0; n < b.N; {
		r, err := pcapfile.NewReader(bytes.NewReader(file), "x")
		if err != nil {
			b.Fatal(err)
		}
		for ; n < b.N && r.Next(&f) == nil; n++ {
		}
	}
}
