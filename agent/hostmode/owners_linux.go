package hostmode

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/flow"
)

// process describes a process.
type process struct {
	container string // full id; "" outside containers
	name      string
	mntns     uint32
	detail    *flow.Detail // shared by the records of its connections
	at        time.Time    // when it was read
}

// owners caches processes and the mount namespaces of containers, so that a process that ended before
// it was read is still attributed to its container.
type owners struct {
	pids   map[uint32]*process
	mounts map[uint32]string
}

const (
	maxProcesses = 8192
	processKept  = 5 * time.Second
)

func newOwners() *owners { return &owners{pids: map[uint32]*process{}, mounts: map[uint32]string{}} }

// learn caches the mount namespace of a container that shares a process's network namespace.
func (o *owners) cacheMount(container, netns string) {
	if dir, ok := strings.CutSuffix(netns, "/ns/net"); ok {
		o.mount(filepath.Join(dir, "ns/mnt"), container)
	}
}

// mount caches the container of a mount namespace and returns the namespace's number.
func (o *owners) mount(path, container string) uint32 {
	ino, err := inode(path)
	if err != nil || container == "" {
		return ino
	}
	if len(o.mounts) >= maxProcesses {
		clear(o.mounts)
	}
	o.mounts[ino] = container
	return ino
}

// byEvent returns the process of an event.
func (o *owners) byEvent(e *socketsOwner) *process {
	if p := o.pids[e.Pid]; p != nil && p.mntns == e.Mntns && time.Since(p.at) < processKept {
		return p
	}
	p, ok := o.readProcess(e.Pid)
	if !ok || p.mntns != e.Mntns { // it has ended, or its number was reused
		p = &process{name: commText(&e.Comm), container: o.mounts[e.Mntns], mntns: e.Mntns}
	}
	return o.cacheProcess(e.Pid, p)
}

// byPid returns a process by its number; nil if there is none.
func (o *owners) byPid(pid uint32) *process {
	if p := o.pids[pid]; p != nil && time.Since(p.at) < processKept {
		return p
	}
	p, ok := o.readProcess(pid)
	if !ok {
		return nil
	}
	return o.cacheProcess(pid, p)
}

func (o *owners) cacheProcess(pid uint32, p *process) *process {
	if len(o.pids) >= maxProcesses {
		clear(o.pids)
	}
	p.at = time.Now()
	p.detail = &flow.Detail{Attrs: []flow.Pair{{Key: "process", Value: p.name}, {Key: "pid", Value: strconv.Itoa(int(pid))}}}
	if p.container != "" {
		p.detail.Attrs = append(p.detail.Attrs, flow.Pair{Key: "container", Value: p.container[:min(12, len(p.container))]})
	}
	o.pids[pid] = p
	return p
}

// readProcess reads a process.
func (o *owners) readProcess(pid uint32) (*process, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(int(pid)))
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return nil, false
	}
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return nil, false
	}
	p := &process{name: printable(string(bytes.TrimSuffix(comm, []byte{'\n'}))), container: containerIn(groups)}
	p.mntns = o.mount(filepath.Join(dir, "ns/mnt"), p.container)
	return p, true
}

var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// containerIn returns the innermost container id in a process's control groups.
func containerIn(groups []byte) string {
	for line := range bytes.Lines(groups) {
		if all := containerID.FindAll(line, -1); len(all) > 0 {
			return string(all[len(all)-1])
		}
	}
	return ""
}

// commText returns the program name of an event.
func commText(c *[16]int8) string {
	var b [16]byte
	n := 0
	for ; n < len(c) && c[n] != 0; n++ {
		b[n] = byte(c[n])
	}
	return printable(string(b[:n]))
}

// printable replaces control characters in hostile program names.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// inode returns the number of a namespace, as BPF programs see it.
func inode(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return uint32(st.Ino), nil
}

// socketOwners finds the processes of sockets by their inodes, among those in a network namespace.
// It reads a bounded number of descriptors.
func socketOwners(space uint32, wanted map[uint32]uint32) {
	const most = 500_000
	procs, _ := os.ReadDir("/proc")
	left, seen := len(wanted), 0
	for _, d := range procs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || left == 0 || seen > most {
			continue
		}
		dir := filepath.Join("/proc", d.Name())
		if ino, err := inode(filepath.Join(dir, "ns/net")); err != nil || ino != space {
			continue
		}
		fds, err := os.Open(filepath.Join(dir, "fd"))
		if err != nil {
			continue
		}
		names, _ := fds.Readdirnames(most)
		fds.Close()
		for _, n := range names {
			seen++
			to, err := os.Readlink(filepath.Join(dir, "fd", n))
			if err != nil || !strings.HasPrefix(to, "socket:[") {
				continue
			}
			ino, _ := strconv.ParseUint(strings.TrimSuffix(to[len("socket:["):], "]"), 10, 32)
			if owner, asked := wanted[uint32(ino)]; asked && owner == 0 {
				wanted[uint32(ino)] = uint32(pid)
				left--
			}
		}
	}
}
