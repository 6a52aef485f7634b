package testnet

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Docker is a Docker daemon of a test, whose "host" is a namespace of the test. It and
// everything it started ends with the test.
type Docker struct {
	// Socket is the path of its API's socket.
	Socket string
	host   *NS
	dir    string
	args   []string
	cmd    *Cmd
	client *http.Client
	t      testing.TB
}

// DockerImage is the one image that the daemon has: busybox, with its applets in /bin.
const DockerImage = "box:1"

const dockerPrefix = "sltest-docker-"

// RequireDocker skips the test where the programs are missing; with SLUICE_ROOT_TESTS=1 it fails.
func RequireDocker(t testing.TB) {
	t.Helper()
	RequireRoot(t)
	for _, f := range []string{"dockerd", "containerd", "runc", "/bin/busybox"} {
		if _, err := exec.LookPath(f); err == nil {
			continue
		}
		why := "needs " + f + ": install docker.io containerd runc busybox-static"
		if os.Getenv("SLUICE_ROOT_TESTS") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
}

// Docker starts a daemon whose containers are on a bridge in host, in both families.
func (n *Net) Docker(host *NS) *Docker {
	n.t.Helper()
	RequireDocker(n.t)
	sweepDockers(n.t)
	// A short path: sockets have at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", fmt.Sprintf("%s%d-", dockerPrefix, os.Getpid()))
	if err != nil {
		n.t.Fatal(err)
	}
	d := &Docker{Socket: filepath.Join(dir, "docker.sock"), host: host, dir: dir, t: n.t}
	d.args = []string{"--data-root", filepath.Join(dir, "root"), "--exec-root", filepath.Join(dir, "exec"), "-p", filepath.Join(dir, "pid"), "-H", "unix://" + d.Socket,
		"--ipv6", "--fixed-cidr-v6", "fd79::/64", "--live-restore"}
	d.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.Socket)
	}}}
	n.t.Cleanup(func() {
		d.removeAll()
		d.Stop()
		clearDocker(n.t, dir)
	})
	d.Start()
	d.image()
	return d
}

// Start starts the daemon and waits until it answers.
func (d *Docker) Start() {
	d.t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.cmd = d.host.Command("dockerd", d.args...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := d.Call("GET", "/_ping", nil); err == nil {
			return
		}
	}
	text, _ := os.ReadFile(log.Name())
	d.t.Fatalf("dockerd does not answer; its log:\n%s", text[max(0, len(text)-3000):])
}

// Stop ends the daemon and waits for it; containers continue.
func (d *Docker) Stop() { d.end(syscall.SIGTERM) }

// Kill ends the daemon at once.
func (d *Docker) Kill() {
	d.end(syscall.SIGKILL)
	// Its containerd dies with it, but where no process reaps orphans the next daemon would wait for it.
	_ = os.Remove(filepath.Join(d.dir, "exec/containerd/containerd.pid"))
}

func (d *Docker) end(sig syscall.Signal) {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(sig)
	timer := time.AfterFunc(15*time.Second, func() { _ = d.cmd.Process.Kill() })
	defer timer.Stop()
	_ = d.cmd.Wait()
	d.cmd = nil
}

// Call makes a call of the API and gives its answer.
func (d *Docker) Call(method, path string, body any) ([]byte, error) {
	var in io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		in, kind = bytes.NewReader(b), "application/x-tar"
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, "http://docker"+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	res, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(out))
	}
	return out, err
}

// Do is Call for a test that cannot continue without.
func (d *Docker) Do(method, path string, body any) []byte {
	d.t.Helper()
	out, err := d.Call(method, path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// Container is what a container is made of.
type Container struct {
	Name, Network string // Network as HostConfig.NetworkMode; "" is the bridge
	Labels        map[string]string
	Command       []string
}

// Run makes and starts a container and gives its id.
func (d *Docker) Run(c Container) string {
	d.t.Helper()
	id := d.Create(c)
	d.Do("POST", "/containers/"+id+"/start", nil)
	return id
}

// Create makes a container and gives its id.
func (d *Docker) Create(c Container) string {
	d.t.Helper()
	var made struct {
		ID string `json:"Id"`
	}
	out := d.Do("POST", "/containers/create?name="+url.QueryEscape(c.Name), map[string]any{"Image": DockerImage, "Cmd": c.Command, "Labels": c.Labels,
		"StopTimeout": 0, "HostConfig": map[string]any{"NetworkMode": c.Network, "Init": false}})
	if err := json.Unmarshal(out, &made); err != nil {
		d.t.Fatal(err)
	}
	return made.ID
}

// Remove kills and removes a container.
func (d *Docker) Remove(id string) {
	d.t.Helper()
	d.Do("DELETE", "/containers/"+id+"?force=1", nil)
}

// Pid is the first process of a container.
func (d *Docker) Pid(id string) int {
	d.t.Helper()
	var c struct{ State struct{ Pid int } }
	if err := json.Unmarshal(d.Do("GET", "/containers/"+id+"/json", nil), &c); err != nil {
		d.t.Fatal(err)
	}
	return c.State.Pid
}

// NS is the network namespace of a running container.
func (d *Docker) NS(id string) *NS {
	d.t.Helper()
	return &NS{Name: id[:12], Path: fmt.Sprintf("/proc/%d/ns/net", d.Pid(id)), t: d.t}
}

func (d *Docker) removeAll() {
	var list []struct {
		ID string `json:"Id"`
	}
	out, err := d.Call("GET", "/containers/json?all=1", nil)
	if err != nil || json.Unmarshal(out, &list) != nil {
		return
	}
	for _, c := range list {
		if _, err := d.Call("DELETE", "/containers/"+c.ID+"?force=1", nil); err != nil {
			d.t.Logf("clean up: %v", err)
		}
	}
}

// image makes DockerImage out of the machine's busybox.
func (d *Docker) image() {
	d.t.Helper()
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		d.t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			d.t.Fatal(err)
		}
		_, _ = w.Write(data)
	}
	add(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, box)
	for _, a := range []string{"sh", "sleep", "nc", "wget", "httpd", "true", "cat", "echo", "ip"} {
		add(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	name, tag, _ := strings.Cut(DockerImage, ":")
	d.Do("POST", "/images/create?fromSrc=-&repo="+name+"&tag="+tag, b.Bytes())
}

// sweepDockers removes leftovers of killed processes.
func sweepDockers(t testing.TB) {
	dirs, _ := filepath.Glob("/tmp/" + dockerPrefix + "*")
	for _, dir := range dirs {
		field, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dockerPrefix), "-")
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 && unix.Kill(pid, 0) == unix.ESRCH {
			t.Logf("sweeping %s of a dead process", dir)
			clearDocker(t, dir)
		}
	}
}

// clearDocker ends every process of a daemon's folder, unmounts what is mounted below and deletes it.
func clearDocker(t testing.TB, dir string) {
	for end := time.Now().Add(10 * time.Second); killUsers(dir) > 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			_ = unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Errorf("clean up: %v", err)
	}
}

// killUsers kills the processes whose command line names a folder below dir, and their children,
// and counts them: a daemon, its containerd, its shims and their containers.
func killUsers(dir string) int {
	n := 0
	users := map[int]bool{}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || pid == os.Getpid() {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(p, "comm"))
		line, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err == nil && bytes.Contains(line, []byte(dir+"/")) && (bytes.HasPrefix(comm, []byte("docker")) || bytes.HasPrefix(comm, []byte("containerd")) || bytes.HasPrefix(comm, []byte("runc"))) {
			users[pid] = true
		}
	}
	for _, p := range procs {
		stat, err := os.ReadFile(filepath.Join(p, "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 {
			parent, _ := strconv.Atoi(f[1])
			pid, _ := strconv.Atoi(filepath.Base(p))
			if users[parent] && f[0] != "Z" {
				users[pid] = true
			}
		}
	}
	for pid := range users {
		if unix.Kill(pid, unix.SIGKILL) == nil {
			n++
		}
	}
	return n
}
