package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluicenet/sluice/agent/reach"
	"github.com/sluicenet/sluice/internal/appnames"
	"github.com/sluicenet/sluice/internal/mtls"
)

// runAgent runs until ctx ends, which is no error.
func runAgent(ctx context.Context, f *agentFlags, errs *screen) error {
	if err := f.checkAgent(); err != nil {
		return err
	}
	log, err := f.logger(errs)
	if err != nil {
		return err
	}
	files, err := f.certificates(log)
	if err != nil {
		return err
	}
	if err := preflight(); err != nil {
		return err
	}
	source, err := f.source(log)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	d := &daemon{flags: &f.standaloneFlags, log: log, fatal: make(chan error, 8)}
	defer d.close()
	metrics, socket, err := d.listenAgent(f)
	if err != nil {
		return err
	}
	st, storeName, err := f.sharedFlags.open(log)
	if err != nil {
		return err
	}
	d.later(func() { st.Close() })
	state := newProbed(st, storeName)
	d.run("store", state.run)
	names := appnames.New(appnames.Config{Store: st, File: filepath.Join(f.data, "plugin-apps.json"), Logger: log})
	names.LoadOr(ctx)
	d.run("names of applications", names.Run)
	parsers, err := f.place.open(ctx, &placing{numbers: names, data: f.data, log: log})
	if err != nil {
		return err
	}
	d.later(parsers.close)
	pool, err := reach.Dial(f.controllers, files.Dial, log)
	if err != nil {
		return err
	}
	d.later(func() { pool.Close() })
	ready, err := d.startAgent(&parts{source: source, store: st, conn: pool, metrics: metrics, parsers: parsers, keep: true, state: state, address: pool.Current,
		socket: socket, addresses: f.controllers})
	if err != nil {
		return err
	}
	return d.untilStopped(ctx, ready, func() {
		fmt.Fprintf(errs, "%s\n  controllers %s, policy from %s\n", errs.paint(bold, "sluice "+thisBuild().Version+" agent of "+f.node+" watches its workloads."),
			strings.Join(f.controllers, ", "), storeName)
	})
}

// certificates are the agent's, which must be this node's.
func (f *agentFlags) certificates(log *slog.Logger) (*mtls.Files, error) {
	files, err := mtls.Load(f.tlsDir, log)
	if err != nil {
		return files, err
	}
	if id := files.Identity; id.Role != mtls.Agent || id.Name != f.node {
		return files, fmt.Errorf("--tls-dir %s holds the certificate of %s, and this is agent/%s: give the right folder, or --node %s", f.tlsDir, id, f.node, id.Name)
	}
	return files, nil
}

// untilStopped reports when the daemon is ready, and waits for its end.
func (d *daemon) untilStopped(ctx context.Context, ready <-chan struct{}, welcome func()) error {
	select {
	case <-ready:
		welcome()
	case <-ctx.Done():
	case err := <-d.fatal:
		return err
	}
	select {
	case <-ctx.Done():
		d.log.Info("stopping")
		return nil
	case err := <-d.fatal:
		return err
	}
}
