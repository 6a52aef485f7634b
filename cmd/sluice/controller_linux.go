package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/sluicenet/sluice/controller"
	"github.com/sluicenet/sluice/controller/front"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/internal/mtls"
)

// saveEvery is how often controllers that share a store put the graph there; reports are there at once.
const saveEvery = 10 * time.Second

// runController runs until ctx ends, which is no error.
func runController(ctx context.Context, f *controllerFlags, errs *screen) error {
	mode, err := f.check()
	if err != nil {
		return err
	}
	log, err := f.logger(errs)
	if err != nil {
		return err
	}
	files, err := mtls.Load(f.tlsDir, log)
	if err != nil {
		return err
	}
	if files.Identity.Role != mtls.Controller {
		return fmt.Errorf("--tls-dir %s holds the certificate of %s, not of a controller", f.tlsDir, files.Identity)
	}
	d := &daemon{flags: &f.standaloneFlags, log: log, fatal: make(chan error, 8)}
	defer d.close()
	socket, err := d.listenSocket()
	if err != nil {
		return err
	}
	listener, err := d.listenTCP(f.listen)
	if err != nil {
		return listenError("--listen", f.listen, err)
	}
	d.later(func() { listener.Close() })
	metrics, err := d.listenController(f.metrics, f.metricsAsked)
	if err != nil {
		return err
	}
	st, storeName, err := f.sharedFlags.open(log)
	if err != nil {
		return err
	}
	d.later(func() { st.Close() })
	watch := d.watchControllers(f, st, storeName, metrics)
	cfg := controller.Config{Outlook: watch.outlook(), Store: st, StoreName: storeName, Version: thisBuild().Version, Holder: f.name, Logger: log,
		Settings: model.Settings{DefaultMode: mode}, SaveEvery: saveEvery, Journal: true, Address: f.advertise}
	door := front.New(front.Config{
		Doors:      []front.Door{{Listener: listener, Creds: files.Server()}, {Listener: socket}},
		Lead:       func(ctx context.Context) (front.Leading, error) { return watch.lead(ctx, cfg) },
		Lost:       func(err error) bool { return errors.Is(err, controller.ErrLost) },
		Leader:     func(ctx context.Context) (string, error) { return controller.Leader(ctx, st) },
		Dial:       func(address string) (*grpc.ClientConn, error) { return files.Dial(address) },
		MaxMessage: maxAnswer,
		Alone:      watch.alone,
		Logger:     log,
	})
	fmt.Fprintf(errs, "%s\n  agents and controllers %s, socket %s\n", errs.paint(bold, "sluice "+cfg.Version+" controller "+f.name+" on "+storeName), f.advertise, f.socket)
	return d.runDoor(ctx, door)
}

// runDoor runs a controller's listeners until ctx ends, which is no error, or a part of the
// process ends by itself.
func (d *daemon) runDoor(ctx context.Context, door *front.Front) error {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-d.fatal:
			cancel(err)
		case <-run.Done():
		}
	}()
	err := door.Run(run)
	if ctx.Err() != nil {
		d.log.Info("stopping")
		if err != nil {
			d.log.Warn("not closed cleanly", "error", err)
		}
		return nil
	}
	if cause := context.Cause(run); cause != nil {
		return cause
	}
	return err
}
