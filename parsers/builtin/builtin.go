// Package builtin is the one list of the parsers that come with Sluice. It is not for
// parsers of plugins: those enter a registry by the same door, behind these.
package builtin

import (
	"fmt"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/amqp"
	"github.com/sluicenet/sluice/parsers/cassandra"
	"github.com/sluicenet/sluice/parsers/dhcp"
	"github.com/sluicenet/sluice/parsers/dns"
	"github.com/sluicenet/sluice/parsers/http"
	"github.com/sluicenet/sluice/parsers/http2"
	"github.com/sluicenet/sluice/parsers/kafka"
	"github.com/sluicenet/sluice/parsers/ldap"
	"github.com/sluicenet/sluice/parsers/mail"
	"github.com/sluicenet/sluice/parsers/memcached"
	"github.com/sluicenet/sluice/parsers/mongodb"
	"github.com/sluicenet/sluice/parsers/mqtt"
	"github.com/sluicenet/sluice/parsers/mysql"
	"github.com/sluicenet/sluice/parsers/nats"
	"github.com/sluicenet/sluice/parsers/netbios"
	"github.com/sluicenet/sluice/parsers/ntp"
	"github.com/sluicenet/sluice/parsers/overlay"
	"github.com/sluicenet/sluice/parsers/postgresql"
	"github.com/sluicenet/sluice/parsers/quic"
	"github.com/sluicenet/sluice/parsers/radius"
	"github.com/sluicenet/sluice/parsers/redis"
	"github.com/sluicenet/sluice/parsers/sip"
	"github.com/sluicenet/sluice/parsers/smb"
	"github.com/sluicenet/sluice/parsers/snmp"
	"github.com/sluicenet/sluice/parsers/ssdp"
	"github.com/sluicenet/sluice/parsers/ssh"
	"github.com/sluicenet/sluice/parsers/stun"
	"github.com/sluicenet/sluice/parsers/sunrpc"
	"github.com/sluicenet/sluice/parsers/syslog"
	"github.com/sluicenet/sluice/parsers/tftp"
	"github.com/sluicenet/sluice/parsers/tls"
	"github.com/sluicenet/sluice/parsers/xmpp"
	"github.com/sluicenet/sluice/parsers/zookeeper"
)

// Registry makes a registry of every built-in parser. The order breaks ties between equally
// strong claims: those with the longest magic are first.
func Registry() (*parsers.Registry, error) { return registry(func(app.ID) bool { return true }) }

// Local makes a registry of the parsers that are in the engine's process even where all others are
// in another: what they find must be known before it is delivered, as the next packet may depend
// on it. That is DNS, and the protocols that announce connections.
func Local() (*parsers.Registry, error) {
	return registry(func(id app.ID) bool {
		switch id {
		case app.DNS, app.MDNS, app.LLMNR, app.FTP, app.TFTP, app.SIP, app.RTSP, app.SunRPC:
			return true
		}
		return false
	})
}

func registry(wanted func(app.ID) bool) (*parsers.Registry, error) {
	list := []struct {
		parser parsers.Parser
		id     app.ID
		on     parsers.Transport
	}{
		{http.New(), app.HTTP, parsers.TCP},
		{tls.New(), app.TLS, parsers.TCP},
		{http2.New(), app.HTTP2, parsers.TCP},
		{ssh.New(), app.SSH, parsers.TCP},
		{postgresql.New(), app.PostgreSQL, parsers.TCP},
		{mysql.New(), app.MySQL, parsers.TCP},
		{redis.New(), app.Redis, parsers.TCP},
		{dns.New(), app.DNS, parsers.TCP | parsers.UDP},
		{dns.NewMDNS(), app.MDNS, parsers.UDP},
		{dns.NewLLMNR(), app.LLMNR, parsers.TCP | parsers.UDP},
		{mongodb.New(), app.MongoDB, parsers.TCP},
		{kafka.New(), app.Kafka, parsers.TCP},
		{amqp.New(), app.AMQP, parsers.TCP},
		{mqtt.New(), app.MQTT, parsers.TCP},
		{nats.New(), app.NATS, parsers.TCP},
		{zookeeper.New(), app.ZooKeeper, parsers.TCP},
		{cassandra.New(), app.Cassandra, parsers.TCP},
		{memcached.New(), app.Memcached, parsers.TCP | parsers.UDP},
		{smb.New(), app.SMB, parsers.TCP},
		{ldap.New(), app.LDAP, parsers.TCP | parsers.UDP},
		{mail.NewSMTP(), app.SMTP, parsers.TCP},
		{mail.NewFTP(), app.FTP, parsers.TCP},
		{mail.NewIMAP(), app.IMAP, parsers.TCP},
		{mail.NewPOP3(), app.POP3, parsers.TCP},
		{xmpp.New(), app.XMPP, parsers.TCP},
		{sip.New(), app.SIP, parsers.TCP | parsers.UDP},
		{sip.NewRTSP(), app.RTSP, parsers.TCP},
		{syslog.New(), app.Syslog, parsers.TCP | parsers.UDP},
		{quic.New(), app.QUIC, parsers.UDP},
		{overlay.NewVXLAN(), app.VXLAN, parsers.UDP},
		{overlay.NewGeneve(), app.Geneve, parsers.UDP},
		{stun.New(), app.STUN, parsers.TCP | parsers.UDP},
		{dhcp.New(), app.DHCP, parsers.UDP},
		{dhcp.NewV6(), app.DHCPv6, parsers.UDP},
		{ssdp.New(), app.SSDP, parsers.UDP},
		{snmp.New(), app.SNMP, parsers.UDP},
		{netbios.New(), app.NetBIOS, parsers.UDP},
		{radius.New(), app.RADIUS, parsers.UDP},
		{tftp.New(), app.TFTP, parsers.UDP},
		{ntp.New(), app.NTP, parsers.UDP},
		{sunrpc.New(), app.SunRPC, parsers.TCP | parsers.UDP},
	}
	r := &parsers.Registry{}
	for _, e := range list {
		if !wanted(e.id) {
			r.AddContinuing(e.parser, e.id)
			continue
		}
		if err := r.Add(e.parser, e.id, e.on); err != nil {
			return nil, fmt.Errorf("built-in parsers: %w", err)
		}
	}
	return r, nil
}
