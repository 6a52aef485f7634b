package clusterdemo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/story"
)

// process is one running sluice.
type process struct {
	name string
	on   *machine
	args []string
	cmd  *exec.Cmd
	log  string // a new one for each run
	done chan error
	// killed reports whether its end is intended.
	killed atomic.Bool
	// socket, conn and api are a controller's.
	socket string
	conn   *grpc.ClientConn
	api    controlv1.ControlClient
}

// launch starts a sluice on a machine.
func (d *demo) launch(name string, on *machine, args ...string) (*process, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := &process{name: name, on: on, args: args, done: make(chan error, 1), socket: filepath.Join(d.dir, name+".sock")}
	p.log = filepath.Join(d.dir, fmt.Sprintf("%s.%d.log", name, len(d.processes)))
	file, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p.cmd = exec.Command(d.cfg.Binary, append(args, "--socket", p.socket)...)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := netns.Do(on.path(), p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	d.processes = append(d.processes, p)
	return p, nil
}

// restart starts a killed process again, with the same arguments.
func (d *demo) restart(p *process) (*process, error) {
	n, err := d.launch(p.name, p.on, p.args...)
	if err == nil && p.api != nil {
		err = n.dial()
	}
	return n, err
}

// logged reports whether a process's log has a text.
func (p *process) logged(text string) bool {
	data, err := os.ReadFile(p.log)
	return err == nil && bytes.Contains(data, []byte(text))
}

// leads reports whether a controller leads, by its log.
func (p *process) leads() bool {
	data, _ := os.ReadFile(p.log)
	return bytes.LastIndex(data, []byte("msg=leading")) > bytes.LastIndex(data, []byte("msg=standby"))
}

// signal suspends or resumes a process.
func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%s: %w: %w", p.name, err, p.running())
	}
	return nil
}

// all are the processes that were started.
func (d *demo) all() []*process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.processes)
}

// dial connects to a controller as its operator does.
func (p *process) dial() (err error) {
	p.conn, err = grpc.NewClient("passthrough:///sluice", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", p.socket)
		}))
	if err == nil {
		p.api = controlv1.NewControlClient(p.conn)
	}
	return err
}

// running returns an error if a process does not run.
func (p *process) running() error {
	select {
	case err := <-p.done:
		p.done <- err
		return fmt.Errorf("%s ended: %w\n%s", p.name, err, p.tail())
	default:
		return nil
	}
}

// kill ends a process without giving it time.
func (p *process) kill() error {
	p.killed.Store(true)
	if p.conn != nil {
		p.conn.Close()
	}
	err := p.cmd.Process.Kill()
	p.done <- <-p.done
	return err
}

// stop ends a process as an operator would.
func (p *process) stop() error {
	if p.conn != nil {
		p.conn.Close()
	}
	select {
	case err := <-p.done:
		p.done <- err
		return nil
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case err := <-p.done:
		p.done <- err
		if err != nil {
			return fmt.Errorf("%s ended badly: %w\n%s", p.name, err, p.tail())
		}
		return nil
	case <-time.After(15 * time.Second):
		_ = p.kill()
		return fmt.Errorf("%s did not end within 15 s\n%s", p.name, p.tail())
	}
}

// tail is the end of the process's log.
func (p *process) tail() string { return story.Tail(p.log) }

// close takes everything down.
func (d *demo) close() error {
	var errs []error
	if d.run != nil {
		d.run.stop()
	}
	for i := len(d.processes) - 1; i >= 0; i-- { // agents before controllers
		errs = append(errs, d.processes[i].stop())
	}
	if d.consul != nil {
		errs = append(errs, d.consul.Close())
	}
	for _, stop := range d.stops {
		stop()
	}
	there, err := netns.List()
	errs = append(errs, err)
	for _, name := range d.namespaces {
		if slices.Contains(there, name) {
			errs = append(errs, netns.Delete(name))
		}
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}
