package consultest

import (
	"path/filepath"

	"github.com/sluicenet/sluice/internal/mtls"
)

// Certificates makes an authority below dir, with a certificate for servers at these addresses and one
// for a client of theirs.
func Certificates(dir string, ips []string) (servers, client *TLS, err error) {
	err = mtls.Issue(dir, []mtls.Subject{
		{Identity: mtls.Identity{Role: mtls.Controller, Name: "consul"}, Hosts: ips},
		{Identity: mtls.Identity{Role: mtls.Agent, Name: "client"}},
	})
	files := func(name string) *TLS {
		at := func(file string) string { return filepath.Join(dir, name, file) }
		return &TLS{CA: at("ca.crt"), Cert: at("tls.crt"), Key: at("tls.key")}
	}
	return files("consul"), files("client"), err
}
