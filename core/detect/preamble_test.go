package detect_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// proxyV2 is a header of version 2 with a command and type-length-value octets behind the addresses.
func proxyV2(command byte, client, server netip.AddrPort, tlvs string) string {
	family, body := byte(0x11), []byte{}
	if client.Addr().Is6() {
		family = 0x21
	}
	body = append(append(body, client.Addr().AsSlice()...), server.Addr().AsSlice()...)
	body = binary.BigEndian.AppendUint16(body, client.Port())
	body = binary.BigEndian.AppendUint16(body, server.Port())
	body = append(body, tlvs...)
	return signature + string(binary.BigEndian.AppendUint16([]byte{0x20 | command, family}, uint16(len(body)))) + string(body)
}

func TestPreamble(t *testing.T) {
	c4, s4 := netip.MustParseAddrPort("192.0.2.9:40001"), netip.MustParseAddrPort("192.0.2.80:80")
	c6, s6 := netip.MustParseAddrPort("[2001:db8::9]:40001"), netip.MustParseAddrPort("[2001:db8::80]:80")
	tests := []struct {
		name, head string
		client     string
		app        app.ID
	}{
		{"version 1, ipv4", "PROXY TCP4 192.0.2.9 192.0.2.80 40001 80\r\n", c4.String(), 100},
		{"version 1, ipv6", "PROXY TCP6 2001:db8::9 2001:db8::80 40001 80\r\n", c6.String(), 100},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", "", 100},
		{"version 1, unknown with trailing bytes", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", 100},
		{"version 2, ipv4", proxyV2(1, c4, s4, ""), c4.String(), 100},
		{"version 2, ipv6", proxyV2(1, c6, s6, ""), c6.String(), 100},
		{"version 2, more behind the addresses", proxyV2(1, c4, s4, "\x04\x00\x02ab"), c4.String(), 100},
		{"version 2, local", proxyV2(0, c4, s4, ""), "", 100},
		{"none", "", "", 100},
		{"of the wrong family", "PROXY TCP4 2001:db8::9 2001:db8::80 40001 80\r\n", "", app.Unknown},
		{"too long", "PROXY TCP4 " + strings.Repeat("1", 120) + "\r\n", "", app.Unknown},
		{"without CR", "PROXY TCP4 192.0.2.9 192.0.2.80 40001 80\n", "", app.Unknown},
		{"version 3", signature + "\x31\x11\x00\x00", "", app.Unknown},
		{"two of them", "PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n", "", app.Unknown},
	}
	for _, tt := range tests {
		for _, n := range []int{1, 2, 7, 1000} {
			d := talk(registry(t, &fake{name: "get", magic: "GET", answer: "VAL"}), n, say{0, tt.head + "GETx"}, say{1, "VALUE"})
			if got := d.Attrs.Detail().Get("proxy_client"); d.App != tt.app || got != tt.client {
				t.Errorf("%s, pieces of %d: app %d for client %q, want %d, %q", tt.name, n, d.App, got, tt.app, tt.client)
			}
			if tt.app == 100 && d.Strength != parsers.Certain {
				t.Errorf("%s, pieces of %d: %s, want certain", tt.name, n, d.Strength)
			}
		}
	}
}

// A server that speaks first waits for the header, which must be delivered then; nothing behind it is.
func TestPreambleAlone(t *testing.T) {
	d := talk(registry(t, &fake{name: "get", magic: "GET", answer: "VAL"}), 1000, say{0, "PROXY TCP4 192.0.2.9 192.0.2.80 40001 80\r\n"})
	if d.Outcome() != detect.Preamble {
		t.Errorf("outcome %d after the header, want preamble", d.Outcome())
	}
	if d.Data(0, []byte("GE")); d.Outcome() != detect.Undecided {
		t.Errorf("outcome %d behind it, want undecided", d.Outcome())
	}
	d.Data(0, []byte("GETx"))
	if d.App != 100 || d.Attrs.Detail().Get("proxy_client") != "192.0.2.9:40001" {
		t.Errorf("app %d, want that behind the header", d.App)
	}
}

// The header is the client's only, at the beginning of a session.
func TestPreambleElsewhere(t *testing.T) {
	const head = "PROXY UNKNOWN\r\n"
	d := talk(registry(t, &fake{name: "get", magic: "GET", answer: "VAL"}), 1000, say{1, head + "VALUE"})
	if d.App != app.Unknown {
		t.Errorf("from the server: app %d, want unknown", d.App)
	}
	r := registry(t, &fake{name: "get", magic: "GET"})
	d = &detect.Ident{}
	d.Reset(r, parsers.Meta{Proto: 17})
	if d.Data(0, []byte(head+"GETx")); d.App != app.Unknown {
		t.Errorf("in a datagram: app %d, want unknown", d.App)
	}
}

func FuzzPreamble(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.9 192.0.2.80 40001 80\r\nGETx"))
	f.Add([]byte(proxyV2(1, netip.MustParseAddrPort("192.0.2.9:1"), netip.MustParseAddrPort("192.0.2.8:2"), "") + "GETx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := registry(t, &fake{name: "get", magic: "GET", answer: "VAL"})
		whole := talk(r, len(b)+1, say{0, string(b)})
		cut := talk(r, 1, say{0, string(b)})
		whole.End()
		cut.End()
		if whole.App != cut.App || whole.Attrs.Detail().Get("proxy_client") != cut.Attrs.Detail().Get("proxy_client") {
			t.Errorf("%q: app %d whole, %d cut", b, whole.App, cut.App)
		}
	})
}
