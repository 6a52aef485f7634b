package field

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// daemon is `sluice standalone` in the world's host, and the commands that talk to it.
type daemon struct {
	exe, dir string
	w        *world
	flags    []string
	cmd      *exec.Cmd
	log      testnet.Output
	ended    chan error
}

// patience is how long the daemon may take for anything on a busy machine.
const patience = 40 * time.Second

func newDaemon(exe string, w *world) (*daemon, error) {
	dir, err := os.MkdirTemp("", "sf") // short: a socket's path is at most 107 bytes
	return &daemon{exe: exe, dir: dir, w: w}, err
}

// describe writes the workloads file.
func (d *daemon) describe() error {
	var b strings.Builder
	b.WriteString("workloads:\n")
	for _, name := range names {
		service := name
		if n := d.w.nodes[name]; n != nil {
			service = n.service
		}
		fmt.Fprintf(&b, "  - {name: %s, netns: %s%s, service: %s}\n", name, d.w.prefix, name, service)
	}
	for _, name := range []string{"host", outside} {
		fmt.Fprintf(&b, "  - {netns: %s%s, exclude: true}\n", d.w.prefix, name)
	}
	next := filepath.Join(d.dir, ".next")
	if err := os.WriteFile(next, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(d.dir, "workloads.yaml"))
}

// start starts the daemon and waits until the workloads are attached.
func (d *daemon) start(mode string) error {
	if err := d.describe(); err != nil {
		return err
	}
	args := append([]string{"standalone", "--netns", d.w.prefix + "?", "--workloads", filepath.Join(d.dir, "workloads.yaml"),
		"--data", filepath.Join(d.dir, "data"), "--listen", "", "--search-processes=false", "--mode", mode}, d.flags...)
	cmd := d.command(args...)
	before := strings.Count(d.log.String(), "Try:")
	cmd.Stdout, cmd.Stderr = &d.log, &d.log
	if err := netns.Do(netns.Named(d.w.prefix+"host"), cmd.Start); err != nil {
		return err
	}
	d.cmd, d.ended = cmd, make(chan error, 1)
	go func() { d.ended <- cmd.Wait() }()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Count(d.log.String(), "Try:") > before {
			return nil
		}
		select {
		case err := <-d.ended:
			d.cmd = nil
			return fmt.Errorf("the daemon ended: %w", err)
		default:
		}
	}
	return errors.New("the daemon is not ready in time")
}

// signal sends a signal; after SIGTERM and SIGKILL it waits for the end.
func (d *daemon) signal(s syscall.Signal) error {
	if d.cmd == nil {
		return nil
	}
	if err := d.cmd.Process.Signal(s); err != nil || s != syscall.SIGTERM && s != syscall.SIGKILL {
		return err
	}
	select {
	case <-d.ended:
	case <-time.After(patience):
		_ = d.cmd.Process.Kill()
		<-d.ended
		d.cmd = nil
		return errors.New("the daemon does not end")
	}
	d.cmd = nil
	return nil
}

func (d *daemon) close() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
	_ = os.RemoveAll(d.dir)
}

func (d *daemon) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.exe, args...)
	cmd.Env = append(os.Environ(), "SLUICE_SOCKET="+filepath.Join(d.dir, "s"))
	return cmd
}

// do runs a command and returns what it wrote.
func (d *daemon) do(args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := d.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("sluice %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}

// rules returns the rules in force.
func (d *daemon) rules() (list []rule, err error) {
	out, err := d.do("rules", "-o", "json")
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	return list, err
}
