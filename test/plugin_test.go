package test

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// fileBlock is a file of the tutorial: its name in backticks before a fenced block.
var fileBlock = regexp.MustCompile("(?s)`([a-z/_-]+\\.(?:go|case))`[^`]*?\n```[a-z]+\n(.*?)```")

// TestTutorial does what docs/plugins.md says, from its text, and finds the protocol in a capture.
func TestTutorial(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "plugins.md"))
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "sluice-tutorial")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	if err := os.Symlink(root, filepath.Join(home, "sluice")); err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(home, "sluice-tally")
	shells := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(text, -1)
	if len(shells) < 2 {
		t.Fatalf("%d blocks of commands in the tutorial, want the module's and the build's first", len(shells))
	}
	tutorialShell(t, home, home, string(shells[0][1]))
	files := fileBlock.FindAllSubmatch(text, -1)
	if len(files) != 5 {
		t.Fatalf("%d files in the tutorial, want 5", len(files))
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(module, string(f[1])), f[2], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tutorialShell(t, home, module, string(shells[1][1]))
	capture := tallyCapture(t, module)
	for _, place := range []string{"inprocess", "plugin"} {
		cmd := exec.Command(binary, "replay", "--json", "--parsers", place, "--plugin-dir", filepath.Join(module, "plugins"), capture)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("replay --parsers %s: %v\n%s", place, err, out)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		var s struct {
			App, Strength string
			Attrs         map[string]string
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if s.App != "tally" || s.Strength != "certain" || s.Attrs["software"] != "tally/1.2" {
			t.Errorf("--parsers %s: %s: want tally, certain, tally/1.2", place, line)
		}
	}
}

// tutorialShell runs a block of commands. The modules are those of this build, so nothing is fetched.
func tutorialShell(t *testing.T, home, dir, script string) {
	t.Helper()
	env := func(key string) string {
		out, err := exec.Command("go", "env", key).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+home, "GOCACHE="+env("GOCACHE"), "GOMODCACHE="+env("GOMODCACHE"), "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v in\n%s\n%s", err, script, out)
	}
}

// tallyCapture writes a short conversation.
func tallyCapture(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "tally.pcap")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	ends := [2]netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")}
	ports, seq := [2]layers.TCPPort{40000, 7777}, [2]uint32{100, 900}
	for i, m := range []struct {
		end      int
		syn, ack bool
		payload  string
	}{{0, true, false, ""}, {1, true, true, ""}, {0, false, true, ""}, {0, false, true, "TALLY 1\n"}, {1, false, true, "OK tally/1.2\n"}, {0, false, true, "ADD apples 3\n"}} {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: ends[m.end].AsSlice(), DstIP: ends[1-m.end].AsSlice()}
		tcp := &layers.TCP{SrcPort: ports[m.end], DstPort: ports[1-m.end], Seq: seq[m.end], SYN: m.syn, ACK: m.ack, PSH: m.payload != "", Window: 6000}
		if m.ack {
			tcp.Ack = seq[1-m.end]
		}
		if seq[m.end] += uint32(len(m.payload)); m.syn {
			seq[m.end]++
		}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		b := gopacket.NewSerializeBuffer()
		eth := &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv6}
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp, gopacket.Payload(m.payload)); err != nil {
			t.Fatal(err)
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, int64(i)*1e6), CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return name
}
