package http

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// hints are header fields that give an application away.
type hints uint16

const (
	upgradeHint hints = 1 << iota // Upgrade: websocket
	keyHint                       // a WebSocket key
	elasticHint
	consulHint
	couchHint
	etcdHint
	wordpressHint
	vaultHint // Vault's API shares paths with Consul's
)

// riding is the application that a block's fields give away.
func (h *half) riding() app.ID {
	f := h.hints
	switch {
	case f&upgradeHint != 0 && (f&keyHint != 0 && !h.response || h.status == 101):
		return app.WebSocket
	case f&elasticHint != 0:
		return app.Elasticsearch
	case f&consulHint != 0:
		return app.Consul
	case f&etcdHint != 0:
		return app.Etcd
	case f&couchHint != 0:
		return app.CouchDB
	case f&wordpressHint != 0:
		return app.WordPress
	}
	return app.Unknown
}

// field reads one header field.
func (s *stream) field(h *half, line []byte) {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || len(name) == 0 || name[0] == ' ' || name[0] == '\t' {
		return
	}
	value = bytes.Trim(value, " \t")
	if h.response {
		s.responseField(h, name, value)
	} else {
		s.requestField(h, name, value)
	}
}

func (s *stream) requestField(h *half, name, value []byte) {
	switch {
	case is(name, "host"):
		s.sink.Attr(parsers.Host, value)
	case is(name, "user-agent"):
		s.sink.Attr(parsers.UserAgent, value)
	case is(name, "upgrade"):
		h.upgrade(value)
		s.upgrades = s.upgrades || h.hints&upgradeHint == 0 && len(value) > 0
	case is(name, "sec-websocket-key"), is(name, "sec-websocket-key1"):
		h.hints |= keyHint
	case is(name, "x-elastic-client-meta"):
		h.hints |= elasticHint
	case is(name, "accept"), is(name, "content-type"):
		if bytes.HasPrefix(value, []byte("application/vnd.elasticsearch+")) {
			h.hints |= elasticHint
		}
	case is(name, "x-consul-token"):
		h.hints |= consulHint
	case is(name, "x-etcd-cluster-id"):
		h.hints |= etcdHint
	case is(name, "x-vault-token"), is(name, "x-vault-request"), is(name, "x-nomad-token"):
		h.hints |= vaultHint
	}
}

func (s *stream) responseField(h *half, name, value []byte) {
	switch {
	case is(name, "server"):
		s.sink.Attr(parsers.Software, value)
		if bytes.HasPrefix(value, []byte("CouchDB")) {
			h.hints |= couchHint
		}
	case is(name, "upgrade"):
		h.upgrade(value)
	case is(name, "content-length"):
		h.length = length(value)
	case is(name, "x-elastic-product"):
		if is(value, "elasticsearch") {
			h.hints |= elasticHint
		}
	case is(name, "x-consul-index"), is(name, "x-consul-knownleader"), is(name, "x-consul-effective-consistency"):
		h.hints |= consulHint
	case is(name, "x-etcd-cluster-id"):
		h.hints |= etcdHint
	case is(name, "x-pingback"):
		if bytes.HasSuffix(value, []byte("/xmlrpc.php")) {
			h.hints |= wordpressHint
		}
	case is(name, "link"):
		if bytes.Contains(value, []byte("https://api.w.org/")) {
			h.hints |= wordpressHint
		}
	}
}

func (h *half) upgrade(value []byte) {
	if is(value, "websocket") {
		h.hints |= upgradeHint
	}
}

// length reads the length of a body; -1 for one that is not passed over.
func length(value []byte) int {
	n := 0
	for _, c := range value {
		if !digit(c) || n > maxBlock {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// is compares without regard to case; want is in lower case.
func is(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// Path segments that belong to one application's API. They are as narrow as the API allows: a
// name that several servers use is not here.
var (
	elasticFirst = [...]string{"_cluster", "_cat", "_nodes", "_search", "_msearch", "_bulk", "_mget", "_aliases", "_template",
		"_index_template", "_component_template", "_ingest", "_ilm", "_reindex", "_snapshot", "_data_stream"}
	elasticSecond = [...]string{"_search", "_msearch", "_bulk", "_mget", "_doc", "_mapping", "_mappings", "_count", "_refresh",
		"_update_by_query", "_delete_by_query", "_pit"}
	couchFirst  = [...]string{"_all_dbs", "_utils", "_replicate", "_active_tasks", "_uuids", "_dbs_info"}
	couchSecond = [...]string{"_all_docs", "_bulk_docs", "_changes", "_revs_diff", "_local"}
	consulPath  = [...]string{"/v1/catalog/service", "/v1/catalog/node", "/v1/catalog/datacenters", "/v1/catalog/register",
		"/v1/catalog/deregister", "/v1/catalog/connect/", "/v1/health/service/", "/v1/health/node/", "/v1/health/checks/",
		"/v1/health/state/", "/v1/health/connect/", "/v1/agent/service", "/v1/agent/check", "/v1/agent/connect/",
		"/v1/session/create", "/v1/session/renew/", "/v1/session/destroy/", "/v1/session/info/", "/v1/session/node/",
		"/v1/session/list", "/v1/event/fire/", "/v1/event/list", "/v1/kv/"}
	vaultPath = [...]string{"/v1/kv/data/", "/v1/kv/metadata/"}
	etcdPath  = [...]string{"/kv/range", "/kv/put", "/kv/txn", "/kv/deleterange", "/kv/compaction", "/watch", "/lease/grant",
		"/lease/revoke", "/lease/keepalive", "/lease/leases", "/auth/authenticate", "/cluster/member/", "/maintenance/"}
	etcdVersion = [...]string{"/v3", "/v3alpha", "/v3beta"}
	etcdV2      = [...]string{"/v2/keys/", "/v2/members/", "/v2/machines/", "/raft/stream/", "/raft/snapshot/"}
	wordpress   = [...]string{"/wp-json/", "/wp-login.php", "/wp-admin/", "/wp-content/", "/wp-includes/"}
)

// ridingOnPath is the application whose API a path belongs to.
func ridingOnPath(path []byte) app.ID {
	if len(path) < 2 || path[0] != '/' {
		return app.Unknown
	}
	first, second, _ := bytes.Cut(path[1:], []byte{'/'})
	if i := bytes.IndexByte(second, '/'); i >= 0 {
		second = second[:i]
	}
	switch {
	case oneOf(first, elasticFirst[:]), oneOf(second, elasticSecond[:]):
		return app.Elasticsearch
	case oneOf(first, couchFirst[:]), oneOf(second, couchSecond[:]):
		return app.CouchDB
	case begins(path, consulPath[:]) && !begins(path, vaultPath[:]):
		return app.Consul
	case etcd(path):
		return app.Etcd
	}
	for _, p := range wordpress {
		if bytes.Contains(path, []byte(p)) {
			return app.WordPress
		}
	}
	return app.Unknown
}

func etcd(path []byte) bool {
	for _, p := range etcdV2 {
		if string(path) == p[:len(p)-1] || len(path) >= len(p) && string(path[:len(p)]) == p {
			return true
		}
	}
	for _, v := range etcdVersion {
		if len(path) > len(v) && string(path[:len(v)]) == v && begins(path[len(v):], etcdPath[:]) {
			return true
		}
	}
	return false
}

func oneOf(b []byte, list []string) bool {
	for _, s := range list {
		if string(b) == s {
			return true
		}
	}
	return false
}

func begins(b []byte, list []string) bool {
	for _, s := range list {
		if len(b) >= len(s) && string(b[:len(s)]) == s {
			return true
		}
	}
	return false
}
