package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/stage/story"
)

// daemon is the program under demonstration.
type daemon struct {
	cmd    *exec.Cmd
	done   chan error
	conn   *grpc.ClientConn
	api    controlv1.ControlClient
	socket string
	log    string
}

// startDaemon starts `sluice standalone` over the lab, with everything it keeps in dir.
func startDaemon(binary, dir string, l *lab.Lab) (*daemon, error) {
	d := &daemon{socket: filepath.Join(dir, "sluice.sock"), log: filepath.Join(dir, "log"), done: make(chan error, 1)}
	list := filepath.Join(dir, "lab.yaml")
	var b strings.Builder
	b.WriteString("workloads:\n")
	args := []string{"standalone", "--data", filepath.Join(dir, "data"), "--socket", d.socket, "--listen", "", "--node", "demo",
		"--workloads", list, "--search-processes=false"}
	for _, h := range l.Hosts() {
		fmt.Fprintf(&b, "  - {name: %s, netns: %s}\n", h.Name, h.NetNS)
		args = append(args, "--netns", h.NetNS)
	}
	if err := os.WriteFile(list, []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	logFile, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	d.cmd = exec.Command(binary, args...)
	d.cmd.Stdout, d.cmd.Stderr = logFile, logFile
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that started the process ends.
		runtime.LockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.done <- d.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	d.conn, err = grpc.NewClient("passthrough:///sluice", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
		}))
	if err != nil {
		return nil, errors.Join(err, d.stop())
	}
	d.api = controlv1.NewControlClient(d.conn)
	return d, nil
}

// ready waits until n workloads are tapped, and the lo of those with a sidecar is queued.
func (d *daemon) ready(ctx context.Context, n, meshed int) error {
	why := "it does not answer"
	for {
		select {
		case err := <-d.done:
			d.done <- err
			return fmt.Errorf("sluice standalone ended (%w):\n%s", err, d.tail())
		default:
		}
		if res, err := d.api.ListWorkloads(ctx, &controlv1.ListWorkloadsRequest{}); err == nil {
			up, lo := 0, 0
			for _, w := range res.Workloads {
				for _, i := range w.Interfaces {
					switch {
					case i.Backend == "tap":
						up++
					case i.Name == "lo" && i.Backend == "nfqueue":
						lo++
					}
				}
			}
			if up == n && lo == meshed {
				return nil
			}
			why = fmt.Sprintf("it taps %d of %d machines, and listens to %d of %d sidecars", up, n, lo, meshed)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("sluice standalone is not ready: %s:\n%s", why, d.tail())
		}
	}
}

// tail is the end of the program's log.
func (d *daemon) tail() string { return story.Tail(d.log) }

// stop ends the program as an operator would.
func (d *daemon) stop() error {
	if d.conn != nil {
		d.conn.Close()
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-d.done:
		d.done <- err
		if err != nil {
			return fmt.Errorf("sluice standalone ended badly: %w:\n%s", err, d.tail())
		}
		return nil
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		return fmt.Errorf("sluice standalone did not end within 10 s:\n%s", d.tail())
	}
}

// close takes everything down, in the order in which it depends on each other.
func (d *demo) close() error {
	var errs []error
	if d.run != nil {
		d.run.stop()
	}
	if d.d != nil {
		errs = append(errs, d.d.stop())
	}
	if d.lab != nil {
		errs = append(errs, d.lab.Close())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// leftovers lists the namespaces and links that there are.
func leftovers() ([]string, error) {
	out, err := netns.List()
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		out = append(out, "link "+l.Attrs().Name)
	}
	sort.Strings(out)
	return out, nil
}

// checkClean reports what a demo left behind.
func (d *demo) checkClean(before []string) error {
	after, err := leftovers()
	if err != nil {
		return err
	}
	had := map[string]bool{}
	for _, b := range before {
		had[b] = true
	}
	for _, a := range after {
		if !had[a] && (strings.HasPrefix(a, prefix) || strings.HasPrefix(a, "link sluice")) {
			return fmt.Errorf("the demo left %s behind", a)
		}
	}
	return nil
}
