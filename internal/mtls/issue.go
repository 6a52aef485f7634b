// Package mtls issues and checks the certificates by which controllers and agents authenticate each other:
// one authority for an installation, and a certificate for each machine with its role. It does not handle
// their calls.
package mtls

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluicenet/sluice/internal/atomicfile"
)

// Files of a folder of certificates. The authority's key is in the folder above those of the machines
// and stays there.
const (
	fileCA    = "ca.crt"
	fileCAKey = "ca.key"
	fileCert  = "tls.crt"
	fileKey   = "tls.key"
)

// Lifetimes of certificates.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	certLife = 365 * 24 * time.Hour
	// skew is the tolerated difference of clocks.
	skew = time.Hour
)

// Subject is the holder of a certificate.
type Subject struct {
	Identity
	// Hosts are its names and addresses; controllers need some.
	Hosts []string
	// Life is the validity of the certificate; 0 is a year.
	Life time.Duration
}

// authority is a CA that can sign.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	// trusted is what machines trust: its own certificate, and those of previous authorities.
	trusted []byte
}

// Issue creates certificates below dir, a folder for each subject, and the authority if there is none. An
// existing folder is an error and not changed.
func Issue(dir string, subjects []Subject) error {
	for _, s := range subjects {
		if err := s.check(); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, s.Name)); err == nil {
			return fmt.Errorf("%s has a certificate already: make a new one with --renew %s", s.Name, s.Name)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	ca, err := openAuthority(dir)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		if err := ca.issue(filepath.Join(dir, s.Name), &s); err != nil {
			return fmt.Errorf("certificate of %s: %w", s.Name, err)
		}
	}
	return nil
}

func (s *Subject) check() error {
	if s.Name == "" || s.Name != filepath.Base(s.Name) || strings.HasPrefix(s.Name, ".") || len(s.Name) > 64 || s.Name == fileCA || s.Name == fileCAKey {
		return fmt.Errorf("name %q: it must be 1 to 64 bytes, without a slash, and not begin with a dot", s.Name)
	}
	if s.Role == Controller && len(s.Hosts) == 0 {
		return fmt.Errorf("controller %s: it needs a name or address at which it is reached", s.Name)
	}
	return nil
}

// openAuthority reads or creates the authority.
func openAuthority(dir string) (*authority, error) {
	key, err := readKey(filepath.Join(dir, fileCAKey))
	if errors.Is(err, fs.ErrNotExist) {
		return newAuthority(dir)
	}
	if err != nil {
		return nil, err
	}
	trusted, err := os.ReadFile(filepath.Join(dir, fileCA))
	if err != nil {
		return nil, err
	}
	block, err := readPEM(filepath.Join(dir, fileCA), "CERTIFICATE") // the newest is the first
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	if p, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !p.Equal(key.Public()) {
		return nil, fmt.Errorf("%s and %s in %s do not belong together", fileCA, fileCAKey, dir)
	}
	return &authority{cert, key, trusted}, nil
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	t, err := template(pkix.Name{CommonName: "Sluice authority"}, caLife)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	if err := writeKey(filepath.Join(dir, fileCAKey), key); err != nil {
		return nil, err
	}
	a := &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	return a, atomicfile.Write(filepath.Join(dir, fileCA), a.trusted, 0o644)
}

func template(name pkix.Name, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: name, NotBefore: now.Add(-skew), NotAfter: now.Add(life)}, nil
}

// issue creates one machine's folder, with the files that the machine needs.
func (a *authority) issue(dir string, s *Subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	t, err := template(pkix.Name{CommonName: s.Name, OrganizationalUnit: []string{s.Role.String()}}, cmp.Or(s.Life, certLife))
	if err != nil {
		return err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if s.Role == Controller {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	t.URIs = []*url.URL{s.uri()}
	for _, h := range s.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(
		atomicfile.Write(filepath.Join(dir, fileCA), a.trusted, 0o644),
		writeKey(filepath.Join(dir, fileKey), key),
		atomicfile.Write(filepath.Join(dir, fileCert), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
	)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("pack key: %w", err)
	}
	return atomicfile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func readPEM(path, kind string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b, _ := pem.Decode(data)
	if b == nil || b.Type != kind {
		return nil, fmt.Errorf("%s holds no %s", path, strings.ToLower(kind))
	}
	return b.Bytes, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is not an ECDSA key", path)
	}
	return key, nil
}
