package pcapfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/pcapfile"
	"github.com/sluicenet/sluice/core/packet"
)

// TestCorpora reads every capture of a corpora folder (labelled/, malformed/, attacks/). This
// one test may be skipped if there is no such folder.
func TestCorpora(t *testing.T) {
	root := os.Getenv("SLUICE_CORPORA")
	if root == "" {
		t.Log("SLUICE_CORPORA is not set: only the captures of our own were read")
		return
	}
	for _, set := range []string{"labelled", "malformed", "attacks"} {
		t.Run(set, func(t *testing.T) {
			var files, damaged, records, noIP, malformed int
			err := filepath.WalkDir(filepath.Join(root, set), func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || !capture(d.Name()) {
					return err
				}
				files++
				began := time.Now()
				c, err := walk(t, path)
				records, noIP, malformed = records+int(c.Records), noIP+int(c.NoIP), malformed+c.malformed
				if err != nil {
					damaged++
					t.Logf("%v", err)
				}
				for link, n := range c.Unsupported {
					t.Logf("%s: %d records of link type %d", path, n, link)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s: took %v", path, took)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d files, %d damaged, %d records, %d without IP, %d malformed", set, files, damaged, records, noIP, malformed)
			if files == 0 {
				t.Errorf("no captures in %s", set)
			}
		})
	}
}

// capture reports whether a file's name is that of a capture.
func capture(name string) bool {
	ext := filepath.Ext(strings.TrimSuffix(name, ".gz"))
	return strings.HasPrefix(ext, ".pcap") || ext == ".cap"
}

type counts struct {
	pcapfile.Stats
	malformed int
}

// walk reads and decodes a file, with the tunnels inside. An error is a *FormatError.
func walk(t testing.TB, path string) (c counts, damage error) {
	r, err := pcapfile.Open(path)
	if err == nil {
		defer r.Close()
		defer func() { c.Stats = r.Stats() }()
		var f packet.Frame
		var p packet.Packet
		for {
			if err = r.Next(&f); err != nil {
				break
			}
			p.Decode(&f)
			if p.Status == packet.Malformed {
				c.malformed++
			}
			packet.VerifyTransport(&p)
			for range 4 {
				inner, link, ok := p.Inner()
				if !ok {
					break
				}
				p.Decode(&packet.Frame{Data: inner, Link: link})
			}
		}
	}
	var fe *pcapfile.FormatError
	switch {
	case errors.Is(err, io.EOF):
		return c, nil
	case errors.As(err, &fe):
		return c, err
	}
	t.Errorf("%s: %v", path, err)
	return c, err
}
