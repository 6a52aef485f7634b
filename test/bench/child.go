//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// rolePrefix marks the hidden first argument of a process that bench starts of itself.
const rolePrefix = "child-"

// params are passed to a child at its start.
type params struct {
	IPv6       bool     `json:"ipv6"`
	Nice       int      `json:"nice"`
	Contender  string   `json:"contender"` // of the dataplane alone
	HostNS     string   `json:"host_ns"`
	ServerNS   string   `json:"server_ns"`
	Others     []string `json:"others"` // namespaces of the other workloads
	CPUProfile string   `json:"cpu_profile"`
}

// request is one line that a child reads; its answer is one line of JSON.
type request struct {
	Do      string  `json:"do"`
	Seconds float64 `json:"seconds,omitempty"`
	Streams int     `json:"streams,omitempty"`
	Rate    int     `json:"rate,omitempty"`
}

// handler answers requests in a child.
type handler interface {
	handle(r request) (any, error)
	io.Closer
}

// childMain is main of a child. It lives until its standard input ends, so that none
// outlives a parent that was killed; signals of the terminal are the parent's business.
func childMain(role, arg string) int {
	if role == pluginRole {
		return pluginMain()
	}
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	// Seen in top and perf.
	_ = os.WriteFile("/proc/self/comm", []byte("bench-"+role), 0)
	err := func() error {
		var p params
		if err := json.Unmarshal([]byte(arg), &p); err != nil {
			return fmt.Errorf("read parameters: %w", err)
		}
		if err := prioritise(p.Nice); err != nil {
			return err
		}
		open := map[string]func(params) (handler, error){"serve": openServer, "load": openLoad, "dataplane": openDataplane}[role]
		if open == nil {
			return fmt.Errorf("no role %q", role)
		}
		h, err := open(p)
		if err != nil {
			return err
		}
		return errors.Join(answer(h), h.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// prioritise sets the nice value of every thread; new ones inherit it.
func prioritise(nice int) error {
	if nice == 0 {
		return nil
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, nice); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("set nice value: %w", err)
		}
	}
	return nil
}

// answer serves requests until standard input ends.
func answer(h handler) error {
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		var result any = struct{}{}
		if r.Do != "hello" {
			var err error
			if result, err = h.handle(r); err != nil {
				return err
			}
		}
		if err := out.Encode(result); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return in.Err()
}

// child is a running one.
type child struct {
	role string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	errs bytes.Buffer // valid once the process has ended
}

// startChild starts a child inside a namespace and waits until it answers.
func startChild(ctx context.Context, role, ns string, p params) (*child, error) {
	arg, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c := &child{role: role, cmd: exec.CommandContext(ctx, self, rolePrefix+role, string(arg))}
	c.cmd.WaitDelay = time.Second
	c.cmd.Stderr = &c.errs
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c.out = bufio.NewReader(out)
	if err := netns.Do(ns, c.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return c, c.call(request{Do: "hello"}, &struct{}{})
}

// call sends a request and reads its answer. When the child has ended, the error is what
// it wrote last.
func (c *child) call(r request, into any) error {
	line, err := json.Marshal(r)
	if err == nil {
		_, err = c.in.Write(append(line, '\n'))
	}
	var got []byte
	if err == nil {
		got, err = c.out.ReadBytes('\n')
	}
	if err == nil {
		err = json.Unmarshal(got, into)
	}
	if err == nil {
		return nil
	}
	c.in.Close()
	_ = c.cmd.Wait()
	if text := strings.TrimSpace(c.errs.String()); text != "" {
		return fmt.Errorf("%s: %s", c.role, text)
	}
	return fmt.Errorf("%s: %w", c.role, err)
}

// stop ends the child and waits for it; one that does not end is killed.
func (c *child) stop() error {
	if c.cmd.ProcessState != nil {
		return nil // call has reported its end
	}
	c.in.Close()
	timer := time.AfterFunc(5*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("stop %s: %w %s", c.role, err, strings.TrimSpace(c.errs.String()))
	}
	return nil
}
