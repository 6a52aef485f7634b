package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sluicenet/sluice/store/consul"
)

// sharedFlags are those of everything that works with other machines.
type sharedFlags struct {
	store, tlsDir string
	access        consul.Access
}

// sharedHelp describes them.
const sharedHelp = `

Consul: --store names some of its servers or agents; where one does not answer the next is used. consuls:// uses
TLS. Where Consul has ACLs, --store-token-file holds the token; it is read again when it changes. What
Consul's own tools take from the environment (CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE, CONSUL_CACERT,
CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY) holds here too. A controller's token needs
    key_prefix "sluice/" { policy = "write" }  session_prefix "" { policy = "write" }
and an agent's
    key_prefix "sluice/" { policy = "read" }
where plugins of your own name applications, also  key_prefix "sluice/o/app/" { policy = "write" }`

func (f *sharedFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.store, "store", "", "Consul that agents and controllers share: consul://HOST:PORT,HOST:PORT?prefix=sluice, or consuls:// for TLS")
	fl.StringVar(&f.access.TokenFile, "store-token-file", "", "file with the ACL token for Consul (environment: CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE)")
	fl.StringVar(&f.access.CA, "store-ca", "", "file with the authority of Consul's certificate (environment: CONSUL_CACERT)")
	fl.StringVar(&f.access.Cert, "store-cert", "", "file with a certificate for Consul, where it wants one (environment: CONSUL_CLIENT_CERT)")
	fl.StringVar(&f.access.Key, "store-key", "", "file with its key (environment: CONSUL_CLIENT_KEY)")
	fl.StringVar(&f.tlsDir, "tls-dir", "", "this machine's folder of certificates, made by 'sluice certs'")
}

// need returns an error for what is missing to work with other machines.
func (f *sharedFlags) need() error {
	switch {
	case f.store == "":
		return errors.New("--store is missing: give the Consul that all machines share, such as consul://10.0.0.1:8500, or use `sluice standalone` for one machine")
	case f.tlsDir == "":
		return errors.New("--tls-dir is missing: make certificates with `sluice certs` and give this machine's folder")
	case (f.access.Cert == "") != (f.access.Key == ""):
		return errors.New("--store-cert and --store-key belong together: give both")
	}
	return nil
}

// open opens the store that machines share. Its name is for display.
func (f *sharedFlags) open(log *slog.Logger) (st *consul.Store, name string, err error) {
	if strings.HasPrefix(f.store, "embedded") {
		return nil, "", errors.New("--store: the embedded store is for one process: use `sluice standalone`, or a Consul, such as consul://10.0.0.1:8500")
	}
	o, err := consul.Parse(f.store)
	if err != nil {
		return nil, "", fmt.Errorf("--store: %w", err)
	}
	o.Logger, o.Access = log, f.access
	if st, err = consul.Open(o); err != nil {
		return nil, "", fmt.Errorf("--store: %w", err)
	}
	return st, "consul " + strings.Join(o.Addresses, ", "), nil
}
