package mtls

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sluicenet/sluice/internal/atomicfile"
)

// Renew issues new certificates for machines with a folder below dir, for the same roles and addresses; no
// names means all of them. They are valid for life, a year if that is 0. It returns the renewed machines.
func Renew(dir string, names []string, life time.Duration) ([]Subject, error) {
	if _, err := os.Stat(filepath.Join(dir, fileCAKey)); err != nil {
		return nil, fmt.Errorf("%w: certificates are renewed where they were made", err)
	}
	ca, err := openAuthority(dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		if names, err = machines(dir); err != nil {
			return nil, err
		}
	}
	var subjects []Subject
	for _, name := range names {
		s, err := subjectOf(filepath.Join(dir, name))
		if err == nil && s.Name != name {
			err = fmt.Errorf("the certificate is that of %s", s.Identity)
		}
		if err != nil {
			return nil, fmt.Errorf("renew %s: %w", name, err)
		}
		s.Life = life
		subjects = append(subjects, s)
	}
	for _, s := range subjects {
		if err := ca.issue(filepath.Join(dir, s.Name), &s); err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", s.Name, err)
		}
	}
	return subjects, nil
}

// machines returns the names of the machines with a folder below dir.
func machines(dir string) (names []string, err error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", fileCert))
	for _, path := range found {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	if len(names) == 0 && err == nil {
		err = fmt.Errorf("no certificate below %s", dir)
	}
	return names, err
}

// subjectOf returns the subject of the certificate in a folder.
func subjectOf(dir string) (Subject, error) {
	block, err := readPEM(filepath.Join(dir, fileCert), "CERTIFICATE")
	if errors.Is(err, fs.ErrNotExist) {
		return Subject{}, errors.New("there is no certificate to renew: make one with --agents or --controllers")
	}
	if err != nil {
		return Subject{}, err
	}
	c, err := x509.ParseCertificate(block)
	if err != nil {
		return Subject{}, err
	}
	s := Subject{Hosts: c.DNSNames}
	for _, ip := range c.IPAddresses {
		s.Hosts = append(s.Hosts, ip.String())
	}
	s.Identity, err = identityOf(c)
	return s, err
}

// NewAuthority creates another authority for future certificates. Machines trust both: the folders below
// dir get the list, and machines are to have it before certificates are renewed.
func NewAuthority(dir string) error {
	old, err := openAuthority(dir)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, fileCAKey)
	if err := os.Rename(path, path+".old"); err != nil {
		return err
	}
	a, err := newAuthority(dir)
	if err != nil {
		return errors.Join(err, os.Rename(path+".old", path))
	}
	if err := trust(dir, append(a.trusted, old.trusted...)); err != nil {
		return err
	}
	return os.Remove(path + ".old")
}

// ForgetAuthorities makes machines trust the newest authority alone. Every certificate must be of it.
func ForgetAuthorities(dir string) error {
	a, err := openAuthority(dir)
	if err != nil {
		return err
	}
	names, err := machines(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		block, err := readPEM(filepath.Join(dir, name, fileCert), "CERTIFICATE")
		if err != nil {
			return err
		}
		c, err := x509.ParseCertificate(block)
		if err != nil {
			return fmt.Errorf("certificate of %s: %w", name, err)
		}
		if err := c.CheckSignatureFrom(a.cert); err != nil {
			return fmt.Errorf("the certificate of %s is that of an older authority: renew it first with --renew %s", name, name)
		}
	}
	first, _ := pem.Decode(a.trusted)
	return trust(dir, pem.EncodeToMemory(first))
}

// trust writes the trusted authorities, for the authority and into every machine's folder.
func trust(dir string, trusted []byte) error {
	names, err := machines(dir)
	if err != nil {
		return err
	}
	errs := []error{atomicfile.Write(filepath.Join(dir, fileCA), bytes.Clone(trusted), 0o644)}
	for _, name := range names {
		errs = append(errs, atomicfile.Write(filepath.Join(dir, name, fileCA), trusted, 0o644))
	}
	return errors.Join(errs...)
}
