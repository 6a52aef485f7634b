package builtin_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
)

const (
	client = parsers.ToServer
	server = parsers.ToClient
	likely = parsers.Likely
	more   = parsers.More
)

// sibling is a head whose free text or number from a closed list is unusual: it must not rule its protocol out.
type sibling struct {
	app  app.ID
	what string
	dir  parsers.Dir
	head string
	want parsers.Match // at least
	mid  bool
	port uint16 // of the server; such heads are datagrams where it is not 0
}

// odd is text that few would choose: control characters, no UTF-8, other protocols' words.
const odd = "\x01\x1b[1m\xff HTTP/1.1 FTP"

var siblings = []sibling{
	{app: app.HTTP, what: "control characters in the target", head: "GET /" + odd + " HTTP/1.1\r\n", want: likely},
	{app: app.HTTP, what: "a method that is not registered", head: "FROBNICATE /x HTTP/1.1\r\n", want: likely},
	{app: app.HTTP, what: "lower case without fields", head: "get / HTTP/1.0\r\n\r\n", want: likely},
	{app: app.HTTP, what: "any phrase", dir: server, head: "HTTP/1.1 599 " + odd + "\r\n", want: likely},
	{app: app.TLS, what: "an alert of a later version", dir: server, head: "\x15\x03\x03\x00\x02\x02\xc8", want: likely},
	{app: app.HTTP2, what: "settings that are not registered", dir: server, head: "\x00\x00\x06\x04\x00\x00\x00\x00\x00\xfe\x03\x00\x00\x00\x01\x00\x00\x00\x04\x01\x00\x00\x00\x00", want: likely},
	{app: app.SSH, what: "a version of its own", head: "SSH-2.1-" + odd, want: likely},
	{app: app.SSH, what: "no software", head: "SSH-2.0-\r\n", want: likely},
	{app: app.SSH, what: "coloured lines before the banner", dir: server, head: "\x1b[1mwelcome\a\r\n\xff\xfe\r\nSSH-2.0-x\r\n", want: likely},
	{app: app.PostgreSQL, what: "odd names and parameters", head: pgStart("TimeZone\x00" + odd + "\x00user\x00" + odd + "\x00\x00"), want: likely},
	{app: app.PostgreSQL, what: "a later minor version", head: "\x00\x00\x00\x10\x00\x03\x27\x0fuser\x00x\x00\x00", want: likely},
	{app: app.PostgreSQL, what: "a later way to log in", dir: server, head: "R\x00\x00\x00\x0c\x00\x00\x00\x14abcd", want: likely},
	{app: app.PostgreSQL, what: "a statement of any text", head: strings.Repeat(pgQuery("frobnicate "+odd), 3), want: likely, mid: true},
	{app: app.PostgreSQL, what: "a notification of any text", dir: server, head: "A\x00\x00\x00\x1d\x00\x00\x00\x09" + odd[:8] + "\x00" + odd[8:19] + "\x00", want: likely, mid: true},
	{app: app.MySQL, what: "a version of any text", dir: server, head: mysqlGreeting("proxy " + odd), want: likely},
	{app: app.MySQL, what: "an error that others number", dir: server, head: mysqlPacket(0, "\xff\x29\x23"+odd+" no backend"), want: more},
	{app: app.MySQL, what: "statements of any text", head: strings.Repeat(mysqlPacket(0, "\x03frobnicate "+odd), 3), want: likely, mid: true},
	{app: app.MySQL, what: "a statement in an executed comment", head: mysqlPacket(0, "\x03/*!40100 SET @@SQL_MODE='' */"), want: likely, mid: true},
	{app: app.MySQL, what: "a prepared statement", head: mysqlPacket(0, "\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01\x08\x00"), want: likely, mid: true},
	{app: app.MySQL, what: "user of any text", head: mysqlPacket(1, "\x85\xa6\xff\x01\x00\x00\x00\x01\x21"+strings.Repeat("\x00", 23)+odd+"\x00\x00"), want: likely},
	{app: app.Redis, what: "a renamed command", head: "*1\r\n$" + "41\r\n9840fc02d524045429941cc15f59e41cb7be6c5\x01z\r\n", want: likely},
	{app: app.Redis, what: "a module's command in a line", head: "FT.SEARCH idx " + odd + "\r\n", want: more},
	{app: app.Redis, what: "a script's error", dir: server, head: "-my " + odd + "\r\n", want: more},
	{app: app.Redis, what: "an error that quotes", dir: server, head: "-ERR unknown command '" + odd + "'\r\n", want: likely},
	{app: app.DNS, what: "odd labels away from the port", head: "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04\x01\x02\xff \x03com\x00\x00\x01\x00\x01", port: 5300, want: likely},
	{app: app.DNS, what: "a type that is not registered", head: "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x03com\x00\x01\x80\x00\x01", port: 5300, want: likely},
	{app: app.MDNS, what: "any instance name", head: "\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04\x01\xff \x02\x05local\x00\x00\xfb\x00\x01", port: 5353, want: likely},
	{app: app.LLMNR, what: "any host name", head: "\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04\xc3\xa4\xff\x01\x00\x00\x1c\x00\x01", port: 5355, want: likely},
	{app: app.MongoDB, what: "any field name in a reply's document", dir: server, head: mongo(1, mongoDoc(odd)), want: likely},
	{app: app.MongoDB, what: "an optional flag", head: mongo(0x10<<16, mongoDoc("hello")), want: likely},
	{app: app.MongoDB, what: "an empty field name", dir: server, head: mongo(1, mongoDoc("")), want: likely},
	{app: app.Kafka, what: "any client id", head: kafka(18, 0, odd, ""), want: likely},
	{app: app.Kafka, what: "a client id that is too long to be common", head: kafka(18, 0, strings.Repeat("x", 300), ""), want: likely},
	{app: app.Kafka, what: "a request of a later version", head: kafka(100, 9, "consumer-1", "\x00\x00\x00\x00"), want: likely},
	{app: app.AMQP, what: "a method that brokers added", dir: server, head: "\x01\x00\x00\x00\x00\x00\x08\x00\x0a\x00\x46\x00\x00\x00\x00\xce", want: likely, mid: true},
	{app: app.AMQP, what: "a message's header", head: "\x02\x00\x01\x00\x00\x00\x0e\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\xce", want: likely, mid: true},
	{app: app.MQTT, what: "any client id and user", head: "\x10" + string(rune(10+2+len(odd)+2+1)) + "\x00\x04MQTT\x04\x82\x00<\x00" + string(rune(len(odd))) + odd + "\x00\x01\x01", want: likely},
	{app: app.MQTT, what: "a long answer", dir: server, head: "\x20\x8a\x01\x00\x00\x86\x01\x1f\x00\x83" + strings.Repeat("\x01", 131), want: likely},
	{app: app.MQTT, what: "any topic", head: strings.Repeat("\x30\x07\x00\x03a\x01/xx", 3), want: likely, mid: true},
	{app: app.NATS, what: "no options", head: "CONNECT {}\r\n", want: likely},
	{app: app.NATS, what: "any name", head: "CONNECT {\"name\":\t\"" + odd + "\"}\r\n", want: likely},
	{app: app.NATS, what: "subscriptions before a message", head: "SUB a.* 1\r\nPING\r\nPUB a.b 2\r\nhi\r\n", want: likely, mid: true},
	{app: app.NATS, what: "a long message", dir: server, head: "+OK\r\nMSG a.b 1 90000\r\nx", want: likely, mid: true},
	{app: app.ZooKeeper, what: "a word of a later version", head: "lead", want: more},
	{app: app.ZooKeeper, what: "a word that is not accepted", dir: server, head: "mntr is not executed because it is not in the whitelist.\n", want: likely},
	{app: app.Cassandra, what: "a statement of any text", head: cql(4, 7, "\x00\x00\x00\x16FROBNICATE "+odd[:11]+"\x00\x01\x00"), want: likely, mid: true},
	{app: app.Cassandra, what: "a prepared statement", head: cql(4, 10, "\x00\x10"+strings.Repeat("\xfe", 16)+"\x00\x06\x00"), want: likely, mid: true},
	{app: app.Cassandra, what: "an error that quotes", dir: server, head: cql(0x84, 0, "\x00\x00\x20\x00\x00\x08"+odd[:8]), want: likely},
	{app: app.Cassandra, what: "any authenticator", dir: server, head: cql(0x84, 3, "\x00\x05Mine\x01"), want: likely},
	{app: app.Cassandra, what: "DSE", head: cql(0x42, 5, ""), want: likely},
	{app: app.Memcached, what: "any key", head: "set a\x01\xff 0 0 1\r\nx\r\n", want: likely},
	{app: app.Memcached, what: "many keys", head: "get " + strings.Repeat("key ", 900), want: more},
	{app: app.Memcached, what: "a command of a later version", head: "frobnicate a b\r\n", want: more},
	{app: app.Memcached, what: "any text of an error", dir: server, head: "SERVER_ERROR " + odd + "\r\n", want: likely},
	{app: app.SMB, what: "any NetBIOS name", head: "\x81\x00\x00\x44\x20" + strings.Repeat("AB", 16) + "\x00\x20" + strings.Repeat("PA", 16) + "\x00", want: more},
	{app: app.LDAP, what: "any name to delete", head: "\x30\x09\x02\x01\x02\x4a\x04abc\x01", want: likely},
	{app: app.LDAP, what: "any name to bind", head: "\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04\x01\x1b\xff \x80\x02pw", want: likely},
	{app: app.LDAP, what: "a version in a longer form", head: "\x30\x0d\x02\x01\x01\x60\x08\x02\x81\x01\x03\x04\x00\x80\x00", want: likely},
	{app: app.LDAP, what: "abandon", head: "\x30\x06\x02\x01\x03\x50\x01\x02", want: likely},
	{app: app.SMTP, what: "any greeting", dir: server, head: "220 " + odd[:9] + "\x07 ESMTP\r\n", want: likely},
	{app: app.SMTP, what: "a command of an extension", head: "XFROB " + odd[:8] + "\r\nEHLO a\r\n", want: likely},
	{app: app.SMTP, what: "a refusal", dir: server, head: "554 no SMTP service here\r\n", want: likely},
	{app: app.FTP, what: "free lines inside a greeting", dir: server, head: "220-\x1b[31mhello\r\n  any \x01 text\r\n220 FTP\r\n", want: likely},
	{app: app.FTP, what: "a command of an extension", head: "XFROB\r\nPASV\r\n", want: likely},
	{app: app.IMAP, what: "any greeting", dir: server, head: "* OK " + odd + "\r\n", want: likely},
	{app: app.IMAP, what: "any tag", head: "my[tag]-that-is-long:0001 LOGIN a b\r\n", want: likely},
	{app: app.IMAP, what: "a command of an extension", head: "a1 XFROB b\r\n", want: more},
	{app: app.POP3, what: "any greeting", dir: server, head: "+OK " + odd + "\r\n", want: likely},
	{app: app.POP3, what: "a refusal", dir: server, head: "-ERR [SYS/TEMP] later\r\n", want: more},
	{app: app.POP3, what: "a command of an extension", head: "XFROB 1\r\nCAPA\r\n", want: likely},
	{app: app.XMPP, what: "any names and prefixes", head: "<?xml version='1.0' encoding=\"x\"?>\n<stream:stream to='>" + odd + "' xmlns='jabber:component:accept'>", want: likely},
	{app: app.SIP, what: "a method of an extension", head: "SERVICE sip:a@b SIP/2.0\r\n", want: likely, port: 5062},
	{app: app.SIP, what: "empty lines first, any phrase", dir: server, head: "\r\n\r\nSIP/2.0 200 " + odd + "\r\n", want: likely, port: 5062},
	{app: app.RTSP, what: "a long target", head: "DESCRIBE rtsp://a/" + strings.Repeat("x", 3000) + " RTSP/1.0\r\n", want: likely},
	{app: app.RTSP, what: "a method of an extension", head: "X_PUSH rtsp://a/ RTSP/1.0\r\n", want: likely},
	{app: app.Syslog, what: "no header", head: "<13>" + odd, want: likely, port: 514},
	{app: app.Syslog, what: "lines without a header", head: "<13>a: " + odd + "\n<14>b\n", want: likely},
	{app: app.QUIC, what: "a reserved version", dir: server, head: "\xc0\x1a\x2a\x3a\x4a\x00\x04abcd\x00\x14" + strings.Repeat("x", 20), want: likely, port: 4433},
	{app: app.VXLAN, what: "any network", head: "\x08\x00\x00\x00\xfe\xdc\xba\x00" + inner, want: likely, port: 4789},
	{app: app.Geneve, what: "any network", head: "\x00\x00\x65\x58\xfe\xdc\xba\x00" + inner, want: likely, port: 6081},
	{app: app.STUN, what: "a method of an extension", head: "\x02\x00\x00\x00\x21\x12\xa4\x42abcdefghijkl", want: likely, port: 3478},
	{app: app.STUN, what: "any user name", head: "\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x06\x00\x03\x01\xff\x1b\x00", want: likely, port: 3478},
	{app: app.DHCP, what: "a later type", head: "\x01\x01\x06\x00" + strings.Repeat("\x00", 232) + "\x63\x82\x53\x63\x35\x01\x40\xff", want: likely, port: 67},
	{app: app.DHCP, what: "any host name", head: "\x01\x01\x06\x00" + strings.Repeat("\x00", 232) + "\x63\x82\x53\x63\x0c\x03\x01\x1b\xff\x35\x01\x01\xff", want: likely, port: 67},
	{app: app.DHCPv6, what: "a type without a name here", head: "\x14abc\x00\x08\x00\x02\x00\x00", want: likely, port: 547},
	{app: app.SSDP, what: "any phrase and software", dir: server, head: "HTTP/1.1 200 " + odd + "\r\nST: a\r\nUSN: b\r\nSERVER: " + odd + "\r\n\r\n", want: likely, port: 1900},
	{app: app.SNMP, what: "any community", head: "\x30\x17\x02\x01\x01\x04\x04\x01\xff\x1b \xa0\x0c\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x01\x00", want: likely, port: 1610},
	{app: app.NetBIOS, what: "any name", head: "\x00\x07\x01\x10\x00\x01\x00\x00\x00\x00\x00\x00\x20" + strings.Repeat("AB", 15) + "PP" + "\x00\x00\x20\x00\x01", want: likely, port: 137},
	{app: app.RADIUS, what: "a code that others use", head: "\x1e\x01\x00\x14" + strings.Repeat("a", 16), want: likely, port: 1812},
	{app: app.RADIUS, what: "any user name", head: "\x01\x01\x00\x1a" + strings.Repeat("a", 16) + "\x01\x06\x01\xff\x1b ", want: likely, port: 9812},
	{app: app.TFTP, what: "any file and mode", head: "\x00\x01a\x01\xff\x00binary\x00", want: likely, port: 69},
	{app: app.TFTP, what: "any file", head: "\x00\x01a\x01\xff\x00octet\x00", want: likely, port: 6969},
	{app: app.SunRPC, what: "a program, version and procedure of its own", head: be(7, 4) + be(0, 4) + be(2, 4) + be(0x40001234, 4) + be(4711, 4) + be(815, 4) + strings.Repeat("\x00", 16), want: likely, port: 5000},
	{app: app.SunRPC, what: "any flavour", dir: server, head: be(7, 4) + be(1, 4) + be(0, 4) + be(4711, 4) + be(4, 4) + odd[:4] + be(0, 4), want: likely, port: 5000},
	{app: app.NTP, what: "any reference", dir: server, head: "\x24\x02\x06\xe9\x00\x00\x00\x01\x00\x00\x00\x01\x01\xff\x1b " + strings.Repeat("\xe9\x00\x00\x01\x00\x00\x00\x01", 4), want: likely, port: 1123},
}

// inner is an Ethernet frame with an IPv6 packet.
const inner = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x86\xdd\x60\x00\x00\x00\x00\x00\x3b\x40\xfd12345678901234\x01\xfd12345678901234\x02"

func be(n, size int) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(n))[8-size:])
}

func le(n, size int) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(n))[:size])
}

func pgStart(params string) string { return be(8+len(params), 4) + "\x00\x03\x00\x00" + params }
func pgQuery(text string) string   { return "Q" + be(4+len(text)+1, 4) + text + "\x00" }

func mysqlPacket(seq int, body string) string { return le(len(body), 3) + le(seq, 1) + body }

func mysqlGreeting(version string) string {
	return mysqlPacket(0, "\x0a"+version+"\x00\x01\x00\x00\x00abcdefgh\x00\xff\xf7\x21\x02\x00\xff\x81\x15"+strings.Repeat("\x00", 10)+"abcdefghijkl\x00")
}

// mongo is an OP_MSG; of a server it answers request 1.
func mongo(flags int, doc string) string {
	to := flags & 1
	return le(16+4+1+len(doc), 4) + le(7, 4) + le(to, 4) + le(2013, 4) + le(flags&^1, 4) + "\x00" + doc
}

func mongoDoc(key string) string {
	return le(4+1+len(key)+1+4+1, 4) + "\x10" + strings.ReplaceAll(key, "\x00", "") + "\x00" + le(1, 4) + "\x00"
}

func kafka(key, version int, id, body string) string {
	return be(10+len(id)+len(body), 4) + be(key, 2) + be(version, 2) + be(1, 4) + be(len(id), 2) + id + body
}

func cql(version, op int, body string) string {
	return be(version, 1) + "\x00\x00\x01" + be(op, 1) + be(len(body), 4) + body
}

// TestSiblings checks of every parser that neither text that others choose nor a number that is missing from a list
// is a reason for No, however the head is cut.
func TestSiblings(t *testing.T) {
	r, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	left := map[app.ID]parsers.Parser{}
	for i := range r.Len() {
		left[r.Entry(i).ID] = r.Entry(i).Parser
	}
	tested := map[app.ID]bool{}
	for _, s := range siblings {
		p := left[s.app]
		if p == nil {
			t.Fatalf("no parser of %s", s.app.Name())
		}
		tested[s.app] = true
		t.Run(s.app.Name()+"/"+s.what, func(t *testing.T) { checkSibling(t, p, s) })
	}
	for id := range left {
		if !tested[id] {
			t.Errorf("%s has no siblings", id.Name())
		}
	}
}

func checkSibling(t *testing.T, p parsers.Parser, s sibling) {
	m := parsers.Meta{Client: netip.MustParseAddr("fd00::1"), Server: netip.MustParseAddr("fd00::2"), ClientPort: 40000, ServerPort: 7777, Proto: 6, Midstream: s.mid}
	first := 1
	if s.port != 0 {
		m.Proto, m.ServerPort, first = 17, s.port, len(s.head)
	}
	for n := first; n <= len(s.head); n++ {
		if got := p.Probe(&m, s.dir, []byte(s.head[:n])); got == parsers.No || n == len(s.head) && got < s.want {
			t.Fatalf("%d of %d bytes: got %s, want %s at the end", n, len(s.head), got, s.want)
		}
	}
}
