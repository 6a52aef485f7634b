package pcapfile_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/backends/pcapfile"
	"github.com/sluicenet/sluice/core/packet"
)

// snap is LLC and SNAP before an EtherType.
const snap = "\xaa\xaa\x03\x00\x00\x00"

// wifiHead is an 802.11 header with a frame control, up to the sequence number.
func wifiHead(control string) string { return control + string(make([]byte, 22)) }

func TestLinkTypes(t *testing.T) {
	eth := "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01"
	zeros := func(n int) string { return string(make([]byte, n)) }
	for _, c := range []struct {
		name string
		link uint32
		head string
		v6   bool
		noIP bool
	}{
		{"Ethernet", 1, eth + "\x08\x00", false, false},
		{"NULL, little endian", 0, "\x02\x00\x00\x00", false, false},
		{"NULL, big endian, Darwin v6", 0, "\x00\x00\x00\x1e", true, false},
		{"NULL, FreeBSD v6", 0, "\x1c\x00\x00\x00", true, false},
		{"NULL, AppleTalk", 0, "\x10\x00\x00\x00", false, true},
		{"LOOP, OpenBSD v6", 108, "\x00\x00\x00\x18", true, false},
		{"RAW 12", 12, "", false, false},
		{"RAW 14", 14, "", true, false},
		{"RAW 101", 101, "", true, false},
		{"IPv4", 228, "", false, false},
		{"IPv6", 229, "", true, false},
		{"SLIP", 8, zeros(16), false, false},
		{"SLL", 113, zeros(14) + "\x08\x00", false, false},
		{"SLL, VLAN", 113, zeros(14) + "\x81\x00\x00\x05\x86\xdd", true, false},
		{"SLL, 802.2", 113, zeros(14) + "\x00\x04" + snap + "\x08\x00", false, false},
		{"SLL2", 276, "\x86\xdd" + zeros(18), true, false},
		{"PPP", 9, "\xff\x03\x00\x21", false, false},
		{"PPP bare", 9, "\x00\x57", true, false},
		{"PPP compressed", 9, "\x21", false, false},
		{"PPP with MPLS", 9, "\xff\x03\x02\x81\x00\x01\x01\x40", false, false},
		{"PPP LCP", 9, "\xff\x03\xc0\x21", false, true},
		{"PPP serial", 50, "\xff\x03\x00\x57", true, false},
		{"PPP serial, Cisco", 50, "\x0f\x00\x08\x00", false, false},
		{"PPP of pppd", 166, "\x01\x03\x00\x21", false, false},
		{"PPP with direction", 204, "\x01\xff\x03\x00\x57", true, false},
		{"PPPoE", 51, "\x11\x00\x00\x01\x00\x20\x00\x21", false, false},
		{"Cisco HDLC", 104, "\x0f\x00\x86\xdd", true, false},
		{"Cisco HDLC, SLARP", 104, "\x8f\x00\x80\x35", false, true},
		{"Token Ring", 6, "\x10\x40" + zeros(12) + snap + "\x08\x00", false, false},
		{"Token Ring, routed", 6, "\x10\x40" + zeros(6) + "\x80" + zeros(5) + "\x04\x00\x00\x00" + snap + "\x86\xdd", true, false},
		{"FDDI", 10, "\x50" + zeros(12) + snap + "\x08\x00", false, false},
		{"Frame Relay", 107, "\x18\x41\x03\xcc", false, false},
		{"Frame Relay v6", 107, "\x18\x41\x03\x8e", true, false},
		{"Frame Relay SNAP", 107, "\x18\x41\x03\x00\x80\x00\x00\x00\x86\xdd", true, false},
		{"Frame Relay, bridged", 107, "\x18\x41\x03\x00\x80\x00\x80\xc2\x00\x07" + eth + "\x08\x00", false, false},
		{"Frame Relay, Cisco", 107, "\x18\x41\x08\x00", false, false},
		{"Frame Relay, LMI", 107, "\x00\x01\x03\x08\x00", false, true},
		{"ATM RFC 1483", 100, snap + "\x08\x00", false, false},
		{"ATM RFC 1483, ISO", 11, "\xfe\xfe\x03\xcc", false, false},
		{"ATM, bridged", 100, "\xaa\xaa\x03\x00\x80\xc2\x00\x07\x00\x00" + eth + "\x86\xdd", true, false},
		{"LAN emulation", 106, "\x00\x01" + eth + "\x08\x00", false, false},
		{"802.2 of IP", 100, "\x06\x06\x03", false, false},
		{"Fibre Channel", 122, zeros(16) + snap + "\x08\x00", false, false},
		{"FireWire", 138, zeros(16) + "\x08\x00", false, false},
		{"InfiniBand", 242, zeros(40) + "\x86\xdd\x00\x00", true, false},
		{"MPLS", 219, "\x00\x01\x01\x40", true, false},
		{"IPNET", 226, "\x01\x02" + zeros(22), false, false},
		{"ENC", 109, "\x02\x00\x00\x00" + zeros(8), false, false},
		{"PFLOG", 117, "\x3d\x18" + zeros(62), true, false},
		{"NFLOG", 239, "\x02\x00\x00\x00" + "\x05\x00\x0a\x00x\x00\x00\x00" + "\x22\x00\x09\x00", false, false},
		{"NFLOG, big endian", 239, "\x0a\x00\x00\x00" + "\x00\x36\x00\x09", true, false},
		{"NFLOG without payload", 239, "\x02\x00\x00\x00" + "\x03\x00\x0a\x00", false, true},
		{"PKTAP", 258, "\x10\x00\x00\x00\x01\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00", false, false},
		{"PKTAP in itself", 258, "\x0c\x00\x00\x00\x01\x00\x00\x00\x02\x01\x00\x00", false, true},
		{"DOCSIS", 143, "\x01\x02\x00\x30__\x00\x00" + eth + "\x08\x00", false, false},
		{"DOCSIS management", 143, "\xc2\x00\x00\x30\x00\x00", false, true},
		{"mPacket", 274, "\x55\x55\x55\x55\x55\x55\x55\xd5" + eth + "\x08\x00", false, false},
		{"mPacket, a piece", 274, "\x55\x55\x55\x55\x55\x55\x55\xe6" + eth + "\x08\x00", false, true},
		{"netANALYZER", 240, zeros(4) + eth + "\x08\x00", false, false},
		{"netANALYZER transparent", 241, zeros(12) + eth + "\x86\xdd", true, false},
		{"Broadcom tag", 281, eth + "\x01\x02\x03\x04\x08\x00", false, false},
		{"Broadcom tag in front", 282, "\x01\x02\x03\x04" + eth + "\x08\x00", false, false},
		{"EtherType DSA", 285, eth + "\xda\xda\x00\x00\x01\x02\x03\x04\x86\xdd", true, false},
		{"802.11", 105, wifiHead("\x08\x01") + snap + "\x08\x00", false, false},
		{"802.11 QoS", 105, wifiHead("\x88\x02") + "\x00\x00" + snap + "\x86\xdd", true, false},
		{"802.11 between access points, HT control", 105, wifiHead("\x88\x83") + zeros(6+2+4) + snap + "\x08\x00", false, false},
		{"802.11 A-MSDU", 105, wifiHead("\x88\x02") + "\x80\x00" + eth + "\x00\x40" + snap + "\x08\x00", false, false},
		{"802.11 encrypted", 105, wifiHead("\x08\x41") + snap + "\x08\x00", false, true},
		{"802.11 beacon", 105, wifiHead("\x80\x00") + snap + "\x08\x00", false, true},
		{"radiotap", 127, "\x00\x00\x08\x00\x00\x00\x00\x00" + wifiHead("\x08\x01") + snap + "\x08\x00", false, false},
		{"radiotap, padded", 127, "\x00\x00\x19\x00\x03\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00" + zeros(8) + "\x20" +
			wifiHead("\x88\x01") + "\x00\x00" + "\x00\x00" + snap + "\x86\xdd", true, false},
		{"Prism", 119, "\x44\x00\x00\x00\x90\x00\x00\x00" + zeros(136) + wifiHead("\x08\x01") + snap + "\x08\x00", false, false},
		{"AVS", 163, "\x80\x21\x10\x01\x00\x00\x00\x40" + zeros(56) + wifiHead("\x08\x01") + snap + "\x86\xdd", true, false},
		{"PPI", 192, "\x00\x00\x08\x00\x69\x00\x00\x00" + wifiHead("\x08\x01") + snap + "\x08\x00", false, false},
		{"Bluetooth", 201, "\x00\x00\x00\x01", false, true},
		{"USB", 189, zeros(48), false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inside := udp4()
			if c.v6 {
				inside = udp6()
			}
			data := append([]byte(c.head), inside...)
			r, err := pcapfile.NewReader(bytes.NewReader(pcapFile(le, 0xa1b2c3d4, c.link, 0, packetAt{1, 1, data, 0})), "test")
			if err != nil {
				t.Fatal(err)
			}
			var f packet.Frame
			if err := r.Next(&f); err != nil {
				t.Fatal(err)
			}
			p := new(packet.Packet)
			p.Decode(&f)
			s := r.Stats()
			if c.noIP {
				if p.Status != packet.NotIP || s.NoIP != 1 {
					t.Errorf("got status %d, %+v, want no IP", p.Status, s)
				}
				return
			}
			if p.Status != packet.OK || p.IPv6 != c.v6 || p.DstPort != 53 || string(p.Payload) != "hi" || s.NoIP != 0 {
				t.Errorf("got status %d %s, v6 %v, port %d, payload %q, %+v", p.Status, p.Reason, p.IPv6, p.DstPort, p.Payload, s)
			}
		})
	}
}

func TestUnsupportedLinkTypeIsCounted(t *testing.T) {
	r, err := pcapfile.NewReader(bytes.NewReader(pcapFile(le, 0xa1b2c3d4, 4711, 0, packetAt{1, 1, udp4(), 0})), "test")
	if err != nil {
		t.Fatal(err)
	}
	var f packet.Frame
	if err := r.Next(&f); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.NoIP != 1 || s.Unsupported[4711] != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestLengthsLeftToTheInterface(t *testing.T) {
	large4 := append(frame4(), make([]byte, 3000)...)
	large4[16], large4[17] = 0, 0
	large6 := append(udp6(), make([]byte, 3000)...)
	large6[4], large6[5] = 0, 0
	for _, c := range []struct {
		link uint32
		data []byte
	}{{1, large4}, {101, large6}} {
		out, err := read(t, pcapFile(le, 0xa1b2c3d4, c.link, 0, packetAt{1, 1, c.data, 0}))
		if len(out) != 1 || out[0].port != 53 {
			t.Errorf("link type %d: got %v, %v", c.link, out, err)
		}
	}
}

// FuzzReader reads arbitrary bytes; reading must end.
func FuzzReader(f *testing.F) {
	f.Add(pcapFile(le, 0xa1b2c3d4, 1, 0, packetAt{1, 1, frame4(), 0}), uint16(127))
	f.Add(pcapFile(be, 0xa1b2cd34, 113, 8, packetAt{1, 1, append(make([]byte, 16), udp6()...), 0}), uint16(107))
	f.Add(append(append(section(be), face(be, 1, 0, option(be, 9, 6)...)...), enhanced(be, 0, 1, frame4(), 44)...), uint16(239))
	f.Fuzz(func(t *testing.T, file []byte, link uint16) {
		if out, err := read(t, file); err == nil {
			t.Fatalf("%d records and no end", len(out))
		}
		as := pcapFile(le, 0xa1b2c3d4, uint32(link), 0, packetAt{1, 1, file, 0})
		if out, _ := read(t, as); len(out) != 1 && len(file) < 1<<17 {
			t.Fatal(fmt.Sprint(out))
		}
	})
}
