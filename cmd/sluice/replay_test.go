package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// message is what one end (0 client) of a captured connection sends in one segment.
type message struct {
	end  int
	text string
}

// capture writes a connection in mid-stream, without handshake and end.
func capture(t *testing.T, v6 bool, cport, sport layers.TCPPort, talk ...message) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	addrs := [2]string{"192.0.2.7", "192.0.2.8"}
	if v6 {
		addrs = [2]string{"2001:db8::7", "2001:db8::8"}
	}
	seq := [2]uint32{1000, 5000}
	for i, m := range talk {
		from, to := net.ParseIP(addrs[m.end]), net.ParseIP(addrs[1-m.end])
		tcp := &layers.TCP{SrcPort: cport, DstPort: sport, Seq: seq[m.end], Ack: seq[1-m.end], ACK: true, PSH: true, Window: 500}
		if m.end == 1 {
			tcp.SrcPort, tcp.DstPort = sport, cport
		}
		seq[m.end] += uint32(len(m.text))
		eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
		var ip interface {
			gopacket.SerializableLayer
			gopacket.NetworkLayer
		} = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from, DstIP: to}
		if v6 {
			eth.EthernetType = layers.EthernetTypeIPv6
			ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: from, DstIP: to}
		}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp, gopacket.Payload(m.text)); err != nil {
			t.Fatal(err)
		}
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1700000000, int64(i)*1e6), CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}
		if err := w.WritePacket(info, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestReplayNamesTheSides begins captures in the middle of connections between high ports.
func TestReplayNamesTheSides(t *testing.T) {
	request, answer := message{0, "GET /hello HTTP/1.1\r\nHost: api.test\r\n\r\n"}, message{1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}
	tests := []struct {
		name         string
		cport, sport layers.TCPPort
		talk         []message
		app          string
	}{
		{"request first", 40000, 60000, []message{request, answer, request, answer}, "http"},
		{"answer first", 40000, 60000, []message{answer, request, answer}, "http"},
		{"server with the lower port", 60000, 40000, []message{request, answer}, "http"},
		{"mysql", 40000, 60000, []message{{0, "\x09\x00\x00\x00\x03SELECT 1"}, {1, "\x01\x00\x00\x01\x01\x17\x00\x00\x02\x03def\x00\x00\x00\x011\x00\x0c\x3f\x00\x01\x00\x00\x00\x08\x81\x00\x00\x00\x00"}}, "mysql"},
	}
	for _, tt := range tests {
		for _, v6 := range []bool{false, true} {
			path := capture(t, v6, tt.cport, tt.sport, tt.talk...)
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"replay", "--json", path}, &screen{Writer: &out}, &screen{Writer: &errs}); code != 0 {
				t.Fatalf("exit %d: %s", code, errs.String())
			}
			var s replaySession
			line, _, _ := bytes.Cut(out.Bytes(), []byte("\n"))
			if err := json.Unmarshal(line, &s); err != nil {
				t.Fatal(err)
			}
			if s.App != tt.app || s.SrcPort != uint16(tt.cport) || s.DstPort != uint16(tt.sport) || s.Evidence != "protocol" || !s.Mid {
				t.Errorf("%s, ipv6 %v: %s from port %d to %d by %s, midstream %v; want %s from %d to %d by protocol", tt.name, v6, s.App, s.SrcPort, s.DstPort, s.Evidence, s.Mid,
					tt.app, tt.cport, tt.sport)
			}
			var up uint64
			for _, m := range tt.talk {
				if m.end == 0 {
					up += uint64(len(m.text))
				}
			}
			if s.Out < up || s.Out+s.In != s.AllBytes || s.Out > up+60*uint64(len(tt.talk)) {
				t.Errorf("%s, ipv6 %v: %d bytes from the client, who sent %d of payload", tt.name, v6, s.Out, up)
			}
		}
	}
}
