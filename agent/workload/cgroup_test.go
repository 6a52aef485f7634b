package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var someID, otherID = strings.Repeat("ab12", 16), strings.Repeat("cd34", 16)

// tree is a machine's control groups and processes, made of files.
func tree(t *testing.T, mounts string, files map[string]string) *controlGroups {
	t.Helper()
	dir := t.TempDir()
	files["proc/self/mountinfo"] = strings.ReplaceAll(mounts, "ROOT", dir)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return newControlGroups(filepath.Join(dir, "proc"))
}

const (
	version1 = `24 20 0:21 / ROOT/cg/cpu rw - cgroup cgroup rw,cpu
25 20 0:22 / ROOT/cg/pids rw,nosuid - cgroup cgroup rw,pids
26 20 0:23 / ROOT/cg/unified rw - cgroup2 cgroup2 rw
27 20 0:24 / ROOT/other rw - tmpfs tmpfs rw
`
	version2 = "30 20 0:26 / ROOT/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
)

func TestControlGroups(t *testing.T) {
	tests := []struct {
		name, mounts, parent string
		files                map[string]string
		seen                 int // process of the other container, which runs already
		want                 int
	}{
		{"version 1", version1, "", map[string]string{"cg/pids/docker/" + someID + "/cgroup.procs": "41\n42\n"}, 0, 41},
		{"version 1 by another hierarchy", version1, "", map[string]string{"cg/cpu/docker/" + someID + "/cgroup.procs": "43\n"}, 0, 43},
		{"version 1 by systemd", version1, "", map[string]string{"cg/pids/system.slice/docker-" + someID + ".scope/cgroup.procs": "44\n"}, 0, 44},
		{"version 2", version2, "", map[string]string{"cg/docker/" + someID + "/cgroup.procs": "45\n"}, 0, 45},
		{"version 2 by systemd", version2, "", map[string]string{"cg/system.slice/docker-" + someID + ".scope/cgroup.procs": "46\n"}, 0, 46},
		{"version 2 below a parent", version2, "/jobs", map[string]string{"cg/jobs/" + someID + "/cgroup.procs": "47\n"}, 0, 47},
		{"version 2 in a slice", version2, "a-b.slice", map[string]string{"cg/a.slice/a-b.slice/docker-" + someID + ".scope/cgroup.procs": "48\n"}, 0, 48},
		{"where another one is", version2, "", map[string]string{"proc/7/cgroup": "0::/daemons/boxes/" + otherID + "/init.scope\n",
			"cg/daemons/boxes/" + someID + "/cgroup.procs": "49\n"}, 7, 49},
		{"where another one is, version 1", version1, "", map[string]string{"proc/7/cgroup": "3:cpu:/\n2:pids:/x/box-" + otherID + ".scope\n",
			"cg/pids/x/box-" + someID + ".scope/cgroup.procs": "50\n"}, 7, 50},
		{"seen from another namespace", version2, "", map[string]string{"proc/7/cgroup": "0::/../../x/" + otherID + "\n", "cg/x/" + someID + "/cgroup.procs": "51\n"}, 7, 0},
		{"no process yet", version2, "", map[string]string{"cg/docker/" + someID + "/cgroup.procs": ""}, 0, 0},
		{"a process that cannot be named here", version2, "", map[string]string{"cg/docker/" + someID + "/cgroup.procs": "0\n"}, 0, 0},
		{"nonsense", version2, "", map[string]string{"cg/docker/" + someID + "/cgroup.procs": "x\n"}, 0, 0},
		{"cut short", version2, "", map[string]string{"cg/docker/" + someID + "/cgroup.procs": strings.Repeat("1", 500)}, 0, 0},
		{"another container", version2, "", map[string]string{"cg/docker/" + otherID + "/cgroup.procs": "52\n"}, 0, 0},
		{"no control groups", "", "", map[string]string{}, 0, 0},
		{"a parent that climbs", version2, "../../../..", map[string]string{someID + "/cgroup.procs": "53\n"}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := tree(t, tt.mounts, tt.files)
			g.learnLayout(otherID, tt.seen)
			if got := g.process(someID, tt.parent); got != tt.want {
				t.Errorf("got process %d, want %d; roots %q, layouts %q", got, tt.want, g.roots, g.layouts)
			}
		})
	}
}

func TestControlGroupsBounded(t *testing.T) {
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("proc/%d/cgroup", i+1)] = fmt.Sprintf("0::/p%d/%s\n", i, otherID)
	}
	g := tree(t, version2, files)
	for i := range 100 {
		g.learnLayout(otherID, i+1)
		g.learnLayout(otherID, 1)
	}
	if len(g.layouts) != maxLayouts {
		t.Errorf("%d layouts are remembered, want %d", len(g.layouts), maxLayouts)
	}
	if n := g.process("../../"+someID, ""); n != 0 {
		t.Errorf("an id that climbs found process %d", n)
	}
}

func TestGroupMounts(t *testing.T) {
	got := groupMounts([]byte("1 2 0:1 / /a\\040b rw - cgroup2 none rw\n1 2 0:1 / /c rw - cgroup none rw,cpu\n1 2 0:1 / /d rw - cgroup none rw,memory\nrubbish\n1 2 - cgroup\n"))
	if want := []string{"/d", "/c", "/a b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzControlGroup(f *testing.F) {
	f.Add("0::/docker/"+someID, version1)
	f.Add("0::/../"+someID+"/x", version2)
	f.Fuzz(func(t *testing.T, path, mounts string) {
		if l, ok := layoutOf(path, someID); ok && (strings.Count(l, containerMark) != 1 || slices.Contains(strings.Split(l, "/"), "..")) {
			t.Errorf("layout %q of %q", l, path)
		}
		groupMounts([]byte(mounts))
	})
}
