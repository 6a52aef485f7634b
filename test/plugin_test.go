package test

import (
	"encoding/json"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/parsertest"
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
	c := newCapture(t, filepath.Join(dir, "tally.pcap"))
	c.conversation(parsers.Meta{Proto: 6, ServerPort: 7777}, []parsertest.Message{
		{Dir: parsers.ToServer, Data: []byte("TALLY 1\n")}, {Dir: parsers.ToClient, Data: []byte("OK tally/1.2\n")}, {Dir: parsers.ToServer, Data: []byte("ADD apples 3\n")},
	})
	return c.close()
}

// TestPlacementsAgree replays every parser's cases, and every capture below SLUICE_CORPORA where that is
// set, with the parsers in process and in the plugin: line by line they say the same.
func TestPlacementsAgree(t *testing.T) {
	cases, err := filepath.Glob("../parsers/*/testdata")
	if err != nil || len(cases) < 20 {
		t.Fatalf("%d folders of cases: %v", len(cases), err)
	}
	c := newCapture(t, filepath.Join(t.TempDir(), "cases.pcap"))
	for _, dir := range cases {
		list, err := parsertest.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			c.conversation(list[i].Meta, list[i].Messages)
		}
	}
	files := []string{c.close()}
	if corpora := os.Getenv("SLUICE_CORPORA"); corpora != "" {
		err := filepath.WalkDir(corpora, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && (strings.Contains(d.Name(), ".pcap") || strings.HasSuffix(d.Name(), ".cap")) {
				files = append(files, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	sort.Strings(files)
	var said [2][]string
	for i, place := range []string{"inprocess", "plugin"} {
		// Damaged captures make the exit code 1 and are part of what is compared.
		out, _ := exec.Command(binary, append([]string{"replay", "--json", "--parsers", place}, files...)...).Output()
		for _, line := range strings.Split(string(out), "\n") {
			if !strings.HasPrefix(line, `{"type":"summary"`) { // it returns how long it took
				said[i] = append(said[i], line)
			}
		}
	}
	t.Logf("%d lines of %d captures", len(said[0]), len(files))
	if len(said[0]) < c.n || len(said[0]) != len(said[1]) {
		t.Fatalf("%d lines in process, %d from the plugin, at least %d wanted", len(said[0]), len(said[1]), c.n)
	}
	for i := range said[0] {
		if said[0][i] != said[1][i] {
			t.Fatalf("line %d\nin process %s\nin plugin  %s", i, said[0][i], said[1][i])
		}
	}
}

// capture is a file of packets being written.
type capture struct {
	t    *testing.T
	f    *os.File
	w    *pcapgo.Writer
	n    int // conversations
	at   time.Time
	link gopacket.SerializableLayer
}

func newCapture(t *testing.T, name string) *capture {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{t: t, f: f, w: pcapgo.NewWriter(f), at: time.Unix(1000, 0),
		link: &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv6}}
	if err := c.w.WriteFileHeader(262144, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	return c
}

// close ends the file and says its name.
func (c *capture) close() string {
	if err := c.f.Close(); err != nil {
		c.t.Fatal(err)
	}
	return c.f.Name()
}

// conversation writes what two ends say; bytes that never come are left out.
func (c *capture) conversation(m parsers.Meta, messages []parsertest.Message) {
	c.n++
	client := m.ClientPort
	if client == 0 || m.Proto == 6 {
		client = uint16(10000 + c.n)
	}
	ports, seq := [2]uint16{client, m.ServerPort}, [2]uint32{100, 900}
	if m.Proto == 6 && !m.Midstream {
		for _, s := range []struct {
			end  int
			syn  bool
			ackd bool
		}{{0, true, false}, {1, true, true}, {0, false, true}} {
			c.segment(s.end, ports, &seq, s.syn, s.ackd, nil)
		}
	}
	for _, msg := range messages {
		if msg.Gap != 0 {
			seq[msg.Dir] += uint32(max(msg.Gap, 0))
			continue
		}
		if m.Proto == 17 {
			udp := &layers.UDP{SrcPort: layers.UDPPort(ports[msg.Dir]), DstPort: layers.UDPPort(ports[1-msg.Dir])}
			c.packet(int(msg.Dir), layers.IPProtocolUDP, udp, udp.SetNetworkLayerForChecksum, msg.Data)
			continue
		}
		for data := msg.Data; len(data) > 0; {
			n := min(len(data), 16000)
			c.segment(int(msg.Dir), ports, &seq, false, true, data[:n])
			data = data[n:]
		}
	}
}

func (c *capture) segment(end int, ports [2]uint16, seq *[2]uint32, syn, ack bool, data []byte) {
	tcp := &layers.TCP{SrcPort: layers.TCPPort(ports[end]), DstPort: layers.TCPPort(ports[1-end]), Seq: seq[end], SYN: syn, ACK: ack, Window: 60000}
	if ack {
		tcp.Ack = seq[1-end]
	}
	if seq[end] += uint32(len(data)); syn {
		seq[end]++
	}
	c.packet(end, layers.IPProtocolTCP, tcp, tcp.SetNetworkLayerForChecksum, data)
}

func (c *capture) packet(end int, proto layers.IPProtocol, l4 gopacket.SerializableLayer, sum func(gopacket.NetworkLayer) error, data []byte) {
	ends := [2]netip.Addr{netip.MustParseAddr("fd00::1"), netip.AddrFrom16([16]byte{0xfd, 14: byte(c.n >> 8), 15: byte(c.n)})}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: ends[end].AsSlice(), DstIP: ends[1-end].AsSlice()}
	if err := sum(ip); err != nil {
		c.t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, c.link, ip, l4, gopacket.Payload(data)); err != nil {
		c.t.Fatal(err)
	}
	c.at = c.at.Add(time.Millisecond)
	if err := c.w.WritePacket(gopacket.CaptureInfo{Timestamp: c.at, CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}, b.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}
