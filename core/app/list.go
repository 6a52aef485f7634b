package app

// The built-in applications. Numbers are never reused.
const (
	HTTP          ID = 1001
	TLS           ID = 1002
	SSH           ID = 1003
	DNS           ID = 1004
	DHCP          ID = 1005
	NTP           ID = 1006
	TFTP          ID = 1007
	Echo          ID = 1008
	RTSP          ID = 1009
	SIP           ID = 1010
	MySQL         ID = 2001
	Redis         ID = 2002
	ZooKeeper     ID = 2003
	Cassandra     ID = 2004
	MongoDB       ID = 2005
	PostgreSQL    ID = 2006
	Kafka         ID = 2007
	Couchbase     ID = 2008
	WordPress     ID = 2009
	ActiveMQ      ID = 2010
	CouchDB       ID = 2011
	Elasticsearch ID = 2012
	Memcached     ID = 2013
	AMQP          ID = 2014
	RADIUS        ID = 2015
	VoltDB        ID = 2016
	Consul        ID = 2017
	Syslog        ID = 2018
	Etcd          ID = 2019
	Spark         ID = 2020
	Apache        ID = 2021
	Nginx         ID = 2022
	Jetty         ID = 2023
	NodeJS        ID = 2024
	EPMD          ID = 2025
	TNS           ID = 2026
	TDS           ID = 2027
	GRPC          ID = 2028
	HTTP2         ID = 3001
	QUIC          ID = 3002
	HTTP3         ID = 3003
	WebSocket     ID = 3004
	MQTT          ID = 3005
	NATS          ID = 3006
	LDAP          ID = 3007
	Kerberos      ID = 3008
	SMB           ID = 3009
	MDNS          ID = 3010
	LLMNR         ID = 3011
	DHCPv6        ID = 3012
	RDP           ID = 3013
	RTP           ID = 3014
	RTCP          ID = 3015
	FTP           ID = 3016
	SMTP          ID = 3017
	IMAP          ID = 3018
	POP3          ID = 3019
	MySQLX        ID = 3020
	Telnet        ID = 3021
	SNMP          ID = 3022
	BGP           ID = 3023
	VNC           ID = 3024
	IRC           ID = 3025
	XMPP          ID = 3026
	Modbus        ID = 3027
	DNP3          ID = 3028
	BitTorrent    ID = 3029
	WireGuard     ID = 3030
	OpenVPN       ID = 3031
	STUN          ID = 3032
	SSDP          ID = 3033
	NetBIOS       ID = 3034
	Thrift        ID = 3035
	Dubbo         ID = 3036
	Git           ID = 3037
	Rsync         ID = 3038
	NFS           ID = 3039
	SunRPC        ID = 3040
	SOCKS         ID = 3041
	Whois         ID = 3042
	Finger        ID = 3043
	X11           ID = 3044
	ClickHouse    ID = 3045
	Bolt          ID = 3046
	Pulsar        ID = 3047
	RocketMQ      ID = 3048
	DNSCrypt      ID = 3049
	DoT           ID = 3050
	FTPData       ID = 3051
	DTLS          ID = 3052
	OpenWire      ID = 3053
	DCERPC        ID = 3054
	IKE           ID = 3055
	CoAP          ID = 3056
	VXLAN         ID = 3057
	Geneve        ID = 3058
)

var table = []Info{
	{HTTP, "http", Unknown},
	{TLS, "tls", Unknown},
	{SSH, "ssh", Unknown},
	{DNS, "dns", Unknown},
	{DHCP, "dhcp", Unknown},
	{NTP, "ntp", Unknown},
	{TFTP, "tftp", Unknown},
	{Echo, "echo", Unknown},
	{RTSP, "rtsp", Unknown},
	{SIP, "sip", Unknown},
	{MySQL, "mysql", Unknown},
	{Redis, "redis", Unknown},
	{ZooKeeper, "zookeeper", Unknown},
	{Cassandra, "cassandra", Unknown},
	{MongoDB, "mongodb", Unknown},
	{PostgreSQL, "postgresql", Unknown},
	{Kafka, "kafka", Unknown},
	{Couchbase, "couchbase", Unknown},
	{WordPress, "wordpress", HTTP},
	{ActiveMQ, "activemq", Unknown},
	{CouchDB, "couchdb", HTTP},
	{Elasticsearch, "elasticsearch", HTTP},
	{Memcached, "memcached", Unknown},
	{AMQP, "amqp", Unknown},
	{RADIUS, "radius", Unknown},
	{VoltDB, "voltdb", Unknown},
	{Consul, "consul", HTTP},
	{Syslog, "syslog", Unknown},
	{Etcd, "etcd", GRPC},
	{Spark, "spark", Unknown},
	{Apache, "apache", HTTP},
	{Nginx, "nginx", HTTP},
	{Jetty, "jetty", HTTP},
	{NodeJS, "nodejs", HTTP},
	{EPMD, "epmd", Unknown},
	{TNS, "tns", Unknown},
	{TDS, "tds", Unknown},
	{GRPC, "grpc", HTTP2},
	{HTTP2, "http2", Unknown},
	{QUIC, "quic", Unknown},
	{HTTP3, "http3", QUIC},
	{WebSocket, "websocket", HTTP},
	{MQTT, "mqtt", Unknown},
	{NATS, "nats", Unknown},
	{LDAP, "ldap", Unknown},
	{Kerberos, "kerberos", Unknown},
	{SMB, "smb", Unknown},
	{MDNS, "mdns", Unknown},
	{LLMNR, "llmnr", Unknown},
	{DHCPv6, "dhcpv6", Unknown},
	{RDP, "rdp", Unknown},
	{RTP, "rtp", Unknown},
	{RTCP, "rtcp", Unknown},
	{FTP, "ftp", Unknown},
	{SMTP, "smtp", Unknown},
	{IMAP, "imap", Unknown},
	{POP3, "pop3", Unknown},
	{MySQLX, "mysqlx", Unknown},
	{Telnet, "telnet", Unknown},
	{SNMP, "snmp", Unknown},
	{BGP, "bgp", Unknown},
	{VNC, "vnc", Unknown},
	{IRC, "irc", Unknown},
	{XMPP, "xmpp", Unknown},
	{Modbus, "modbus", Unknown},
	{DNP3, "dnp3", Unknown},
	{BitTorrent, "bittorrent", Unknown},
	{WireGuard, "wireguard", Unknown},
	{OpenVPN, "openvpn", Unknown},
	{STUN, "stun", Unknown},
	{SSDP, "ssdp", Unknown},
	{NetBIOS, "netbios", Unknown},
	{Thrift, "thrift", Unknown},
	{Dubbo, "dubbo", Unknown},
	{Git, "git", Unknown},
	{Rsync, "rsync", Unknown},
	{NFS, "nfs", SunRPC},
	{SunRPC, "sunrpc", Unknown},
	{SOCKS, "socks", Unknown},
	{Whois, "whois", Unknown},
	{Finger, "finger", Unknown},
	{X11, "x11", Unknown},
	{ClickHouse, "clickhouse", Unknown},
	{Bolt, "bolt", Unknown},
	{Pulsar, "pulsar", Unknown},
	{RocketMQ, "rocketmq", Unknown},
	{DNSCrypt, "dnscrypt", Unknown},
	{DoT, "dot", TLS},
	{FTPData, "ftp-data", Unknown},
	{DTLS, "dtls", Unknown},
	{OpenWire, "openwire", Unknown},
	{DCERPC, "dcerpc", Unknown},
	{IKE, "ike", Unknown},
	{CoAP, "coap", Unknown},
	{VXLAN, "vxlan", Unknown},
	{Geneve, "geneve", Unknown},
}

// aliases are common alternative names.
var aliases = map[string]ID{
	"ssl": TLS, "rabbitmq": AMQP, "oracle": TNS, "mssql": TDS, "postgres": PostgreSQL, "mariadb": MySQL, "h2": HTTP2, "h2c": HTTP2, "neo4j": Bolt, "rpc": SunRPC,
}
