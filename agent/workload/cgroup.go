package workload

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// controlGroups finds processes of containers by their control groups, of version 1 and 2. A
// container's group has a process as soon as the runtime has made its namespaces, while the daemon
// answers no inspect request before the start is complete. Paths of groups differ between machines, so it
// tries the usual ones, and those seen for other containers.
type controlGroups struct {
	proc    string   // the proc file system
	roots   []string // where hierarchies are mounted
	layouts []string // of a container's group below a root, with containerMark for its id
}

const (
	// containerMark is the placeholder of a container's id in a layout.
	containerMark = "\x00"
	// maxLayouts bounds the layouts.
	maxLayouts = 16
	// maxProcs bounds the bytes read of a list of processes: the first process is enough.
	maxProcs = 64
)

// usualLayouts are the layouts of Docker's two cgroup drivers.
var usualLayouts = []string{"docker/" + containerMark, "system.slice/docker-" + containerMark + ".scope"}

// mountedGroups returns the control groups of this machine.
func mountedGroups() *controlGroups { return newControlGroups("/proc") }

func newControlGroups(proc string) *controlGroups {
	g := &controlGroups{proc: proc, layouts: slices.Clone(usualLayouts)}
	if data, err := os.ReadFile(filepath.Join(proc, "self/mountinfo")); err == nil {
		g.roots = groupMounts(data)
	}
	return g
}

// groupMounts returns the mount points of control group hierarchies (proc_pid_mountinfo(5)), first those
// with every container: a memory or pids hierarchy of version 1, then others, then version 2.
func groupMounts(mountinfo []byte) []string {
	type mount struct {
		path string
		rank int
	}
	var all []mount
	for line := range bytes.Lines(mountinfo) {
		before, after, ok := strings.Cut(string(line), " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(kind) < 3 || kind[0] != "cgroup" && kind[0] != "cgroup2" {
			continue
		}
		m := mount{unescape(f[4]), 1}
		switch options := strings.Split(kind[2], ","); {
		case kind[0] == "cgroup2":
			m.rank = 2
		case slices.Contains(options, "pids"), slices.Contains(options, "memory"):
			m.rank = 0
		}
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b mount) int { return a.rank - b.rank })
	out := make([]string, 0, len(all))
	others := 0
	for _, m := range all {
		if m.rank == 1 {
			others++
		}
		if !slices.Contains(out, m.path) && (m.rank != 1 || others <= 2) {
			out = append(out, m.path)
		}
	}
	return out
}

// unescape decodes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// process returns a process of a container, 0 if there is none. The parent is the container's configured
// cgroup parent.
func (g *controlGroups) process(id, parent string) int {
	if !plainID(id) {
		return 0
	}
	layouts := g.layouts
	if parent != "" {
		layouts = append([]string{filepath.Join(parent, containerMark), filepath.Join(slicePath(parent), "docker-"+containerMark+".scope")}, layouts...)
	}
	for _, layout := range layouts {
		name := strings.ReplaceAll(layout, containerMark, id)
		for _, root := range g.roots {
			if pid := firstIn(filepath.Join(root, filepath.Clean("/"+name), "cgroup.procs")); pid != 0 {
				return pid
			}
		}
	}
	return 0
}

// firstIn returns the first process of a list, 0 if there is none.
func firstIn(file string) int {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	b := make([]byte, maxProcs)
	n, _ := f.Read(b)
	line, _, whole := bytes.Cut(b[:n], []byte{'\n'})
	pid, err := strconv.Atoi(string(line))
	if !whole || err != nil || pid <= 0 {
		return 0 // 0 is a process of another pid namespace
	}
	return pid
}

// learnLayout adds the layout of a container's group, by one of its processes.
func (g *controlGroups) learnLayout(id string, pid int) {
	if pid == 0 || !plainID(id) {
		return
	}
	data, err := os.ReadFile(filepath.Join(g.proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return
	}
	for line := range bytes.Lines(data) {
		f := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(f) < 3 {
			continue
		}
		layout, ok := layoutOf(f[2], id)
		if ok && !slices.Contains(g.layouts, layout) && len(g.layouts) < maxLayouts {
			g.layouts = append(g.layouts, layout)
		}
	}
}

// layoutOf returns a control group's path up to the part with the container's id, which is the
// container's own group: the container may create others below.
func layoutOf(path, id string) (string, bool) {
	if strings.Contains(path, containerMark) {
		return "", false
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		switch {
		case p == "..": // of another cgroup namespace
			return "", false
		case strings.Contains(p, id):
			return strings.Join(append(slices.Clone(parts[:i]), strings.Replace(p, id, containerMark, 1)), "/"), true
		}
	}
	return "", false
}

// slicePath returns the path of a systemd slice: a-b.slice is in a.slice.
func slicePath(name string) string {
	base, ok := strings.CutSuffix(name, ".slice")
	if !ok || strings.Contains(name, "/") {
		return name
	}
	var out []string
	for i, r := range base {
		if r == '-' && i > 0 {
			out = append(out, base[:i]+".slice")
		}
	}
	return filepath.Join(append(out, name)...)
}

// plainID reports whether an id is in Docker's form, without special characters of paths.
func plainID(id string) bool {
	return id != "" && strings.Trim(id, "0123456789abcdef") == ""
}
