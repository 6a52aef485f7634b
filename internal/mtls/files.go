package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Files is a machine's folder of certificates. New files are used from the next connection on; unusable
// ones are logged, and the previous ones stay in use.
type Files struct {
	dir string
	log *slog.Logger
	// Identity is that of the machine's own certificate.
	Identity Identity

	mu     sync.Mutex // guards what follows
	seen   [3]stamp   // of the files read last
	pair   *tls.Certificate
	pool   *x509.CertPool
	warned time.Time // time of the last expiry warning
	told   map[string]time.Time
}

// stamp distinguishes a file from its replacement.
type stamp struct {
	changed time.Time
	size    int64
}

// warnBefore is how long before expiry warnings are logged, each warnEvery.
const (
	warnBefore = 30 * 24 * time.Hour
	warnEvery  = 24 * time.Hour
)

// Load checks a machine's folder, as Issue made it. An expired certificate is no error here: it may be
// renewed, and causes an error when it is used.
func Load(dir string, log *slog.Logger) (*Files, error) {
	if _, err := os.Stat(filepath.Join(dir, fileKey)); err != nil {
		return nil, fmt.Errorf("certificates: %w: make them with `sluice certs`, and give the machine's own folder", err)
	}
	f := &Files{dir: dir, log: log, told: map[string]time.Time{}}
	f.seen = f.stamps()
	var err error
	if f.pair, f.pool, f.Identity, err = f.read(); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.warn()
	return f, nil
}

// read reads the folder.
func (f *Files) read() (pair *tls.Certificate, pool *x509.CertPool, id Identity, err error) {
	path := filepath.Join(f.dir, fileCA)
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, id, err
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, id, fmt.Errorf("%s holds no certificate", path)
	}
	path = filepath.Join(f.dir, fileCert)
	c, err := tls.LoadX509KeyPair(path, filepath.Join(f.dir, fileKey))
	if err != nil {
		return nil, nil, id, fmt.Errorf("%s with its key: %w", path, err)
	}
	if id, err = identityOf(c.Leaf); err != nil {
		return nil, nil, id, fmt.Errorf("%s: %w", path, err)
	}
	return &c, pool, id, nil
}

func (f *Files) stamps() (out [3]stamp) {
	for i, name := range []string{fileCA, fileCert, fileKey} {
		if info, err := os.Stat(filepath.Join(f.dir, name)); err == nil {
			out[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return out
}

// current returns the credentials for new connections.
func (f *Files) current() (*tls.Certificate, *x509.CertPool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.stamps(); now != f.seen {
		pair, pool, id, err := f.read()
		if err == nil && id != f.Identity {
			err = fmt.Errorf("%s holds the certificate of %s now, and this is %s", f.dir, id, f.Identity)
		}
		if err != nil {
			// The update of the files may be incomplete; the next connection reads them again.
			f.log.Error("new certificates unusable, previous ones stay in use", "error", err)
		} else {
			f.seen, f.pair, f.pool, f.warned = now, pair, pool, time.Time{}
			f.log.Info("certificates loaded", "dir", f.dir, "until", pair.Leaf.NotAfter.Format(time.DateOnly))
		}
	}
	f.warn()
	return f.pair, f.pool
}

// expired returns an error, with what to do, if a certificate has expired.
func (f *Files) expired(c *x509.Certificate) error {
	if time.Now().Before(c.NotAfter) {
		return nil
	}
	return fmt.Errorf("this machine's certificate (%s) expired on %s: renew it with `sluice certs --renew %s` and put it into %s; no restart is needed",
		f.Identity, c.NotAfter.Format(time.DateOnly), f.Identity.Name, f.dir)
}

// warn logs that the certificate expires soon. The lock is held.
func (f *Files) warn() {
	left := time.Until(f.pair.Leaf.NotAfter)
	if left > warnBefore || time.Since(f.warned) < warnEvery {
		return
	}
	f.warned = time.Now()
	if err := f.expired(f.pair.Leaf); err != nil {
		f.log.Error("certificate expired", "error", err)
		return
	}
	f.log.Warn("certificate expires soon: renew it with `sluice certs --renew`", "identity", f.Identity.String(), "on", f.pair.Leaf.NotAfter.Format(time.DateOnly))
}

// sometimes reports whether a message may be logged again: at most each ten seconds.
func (f *Files) sometimes(text string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.told[text]) < 10*time.Second {
		return false
	}
	if len(f.told) > 1000 {
		clear(f.told)
	}
	f.told[text] = time.Now()
	return true
}
