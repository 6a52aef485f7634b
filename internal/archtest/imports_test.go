package archtest_test

import (
	"strings"
	"testing"
)

// stage is the folder of labs, demos and test gear, which the product has no part of.
const stage = "internal/stage/..."

// rule lists what the packages below a folder may import of the project. The first
// rule whose folder fits decides. A pattern ends in /... for a folder and all below it, without
// the stage unless it names it.
type rule struct {
	folder string
	may    []string
}

var rules = []rule{
	{"core/app", nil},
	{"core/packet", []string{"core/app"}},
	{"core/flow", []string{"core/packet", "core/app"}},
	{"core/backend", []string{"core/packet", "core/flow"}},
	{"core/frag", []string{"core/packet", "core/app"}},
	{"core/session", []string{"core/packet", "core/app", "core/flow"}},
	{"core/role", []string{"core/packet", "core/app", "core/flow"}},
	{"core/stream", []string{"core/packet", "core/app"}},
	{"core/report", []string{"core/packet", "core/app", "core/flow"}},
	{"core/detect", []string{"core/packet", "core/app", "core/flow", "core/report", "core/stream", "core/session", "parsers"}},
	{"core/policy", []string{"core/packet", "core/app", "core/flow", "core/report"}},
	{"core/names", []string{"core/packet", "core/app", "core/flow", "core/report"}},
	{"core/sidecar", []string{"core/packet", "core/app", "core/flow"}},
	{"core/counter", nil},
	{"core/threat", []string{"core/packet", "core/app", "core/flow", "core/report", "core/session"}},
	{"core/sensor", []string{"core/packet", "core/app", "core/flow", "core/report", "core/stream"}},
	{"core/hold", []string{"core/packet"}},
	{"core/own", []string{"core/packet"}},
	{"core/handover", []string{"core/packet"}},
	{"core/related", []string{"core/packet", "core/app"}},
	{"core/identify", []string{"core/app", "core/detect", "core/stream", "parsers"}},
	{"core/offload", []string{"core/packet", "core/app", "core/flow", "core/session", "core/backend"}},
	// The frame path has the rooms, and none of them has it; the engine has the paths.
	{"core/path", []string{"core/role", "core/packet", "core/app", "core/flow", "core/report", "core/counter", "core/backend", "core/frag", "core/session", "core/detect", "core/policy",
		"core/threat", "core/sensor", "core/hold", "core/handover", "core/identify", "core/offload", "core/own", "core/related", "core/sidecar", "core/names", "parsers"}},
	{"core/engine", []string{"core/...", "parsers"}},
	{"parsers/parsertest", []string{"parsers", "core/app", "core/detect"}},
	{"parsers/builtin", []string{"parsers", "parsers/...", "core/app"}},
	{"parsers/...", []string{"parsers", "core/app"}},
	{"parsers", []string{"core/app"}},
	{"backends/backendtest", []string{"core/backend", "core/packet", "core/sidecar", "internal/...", "backends/...", "internal/stage/testnet"}},
	{"backends/...", []string{"core/backend", "core/packet", "core/sidecar", "internal/...", "backends/..."}},
	// A plugin identifies sessions as a whole, with the engine's own core/detect, so that both placements
	// of the parsers name the same (docs/decisions/0010).
	{"plugins/example", []string{"parsers", "plugins/sdk", "plugins/sdk/sdktest"}},
	{"plugins/example/...", []string{"parsers", "plugins/sdk", "plugins/sdk/sdktest"}},
	{"plugins/sdk/sdktest", []string{"parsers", "parsers/parsertest", "core/app"}},
	{"plugins/...", []string{"parsers/...", "parsers", "api/...", "core/app", "core/detect", "plugins/..."}},
	{"store/...", []string{"store", "store/..."}},
	{"store", nil},
	{"agent/...", []string{"core/...", "backends/...", "parsers/...", "parsers", "plugins/host", "store", "store/...", "api/...", "internal/...", "agent/..."}},
	{"agent", []string{"core/...", "backends/...", "parsers/...", "parsers", "plugins/host", "store", "store/...", "api/...", "internal/...", "agent/..."}},
	{"controller/simulate", []string{"core/...", "controller/...", "store/...", "api/...", "internal/..."}},
	{"controller/...", []string{"core/policy", "core/app", "core/flow", "core/report", "core/packet", "store", "store/...", "api/...", "internal/...", "controller/..."}},
	{"controller", []string{"core/policy", "core/app", "core/flow", "core/report", "core/packet", "store", "store/...", "api/...", "internal/...", "controller/..."}},
	{"internal/vocab", []string{"api/...", "core/flow"}},
	{"internal/stage/demo", []string{"api/...", "internal/...", stage}},
	{"internal/stage/clusterdemo", []string{"api/...", "internal/...", stage}},
	// Backends are tried under a whole engine.
	{"internal/stage/decoys", []string{"core/backend", "core/engine", "core/policy", "parsers/builtin", "internal/...", stage}},
	{stage, []string{"internal/...", stage}},
	{"internal/specstore", []string{"store", "store/blob", "core/policy"}},
	{"internal/appnames", []string{"store", "core/app"}},
	{"internal/atomicfile", nil},
	{"internal/backoff", nil},
	{"internal/...", []string{"internal/..."}},
	{"api/...", nil},
}

// leaves are small packages of the product without state or imports of ours, that any package outside core may import.
var leaves = []string{"internal/atomicfile", "internal/backoff"}

// testsMayAlso are packages that any test may import.
var testsMayAlso = []string{stage, "internal/netns", "parsers/parsertest", "parsers/builtin", "store/storetest", "store/embedded", "backends/backendtest", "core/packet", "core/detect",
	// Plugins are tried under a whole engine.
	"core/engine", "core/policy", "core/flow", "core/report", "core/backend", "core/counter"}

// fits reports whether a pattern covers a package.
func fits(pattern, pkg string) bool {
	if below(stage, pkg) && !strings.HasPrefix(pattern, strings.TrimSuffix(stage, "...")) {
		return false
	}
	return pattern == pkg || below(pattern, pkg)
}

// below reports whether a package is in the folder of a pattern that ends in /...
func below(pattern, pkg string) bool {
	if folder, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(pkg, folder+"/")
	}
	return false
}

func anyFits(patterns []string, pkg string) bool {
	for _, p := range patterns {
		if fits(p, pkg) {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	_, files := load(t)
	for _, f := range files {
		if strings.HasPrefix(f.dir, "cmd/") || f.dir == "test" || strings.HasPrefix(f.dir, "test/") {
			continue
		}
		var r *rule
		for i := range rules {
			if fits(rules[i].folder, f.dir) {
				r = &rules[i]
				break
			}
		}
		if r == nil {
			t.Errorf("%s/%s: no rule of this test covers the folder: add one", f.dir, f.name)
			continue
		}
		for _, p := range f.imports() {
			if p == f.dir || anyFits(r.may, p) || anyFits(leaves, p) && !strings.HasPrefix(f.dir, "core/") || f.test && anyFits(testsMayAlso, p) {
				continue
			}
			t.Errorf("%s/%s imports %s, which %s may not", f.dir, f.name, p, r.folder)
		}
	}
}

// The program of the product is built without the stage, test gear and what only these need.
func TestProductHasNoStage(t *testing.T) {
	_, files := load(t)
	imports := map[string]map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		if imports[f.dir] == nil {
			imports[f.dir] = map[string]bool{}
		}
		for _, i := range f.ast.Imports {
			imports[f.dir][strings.Trim(i.Path.Value, `"`)] = true
		}
	}
	seen := map[string]bool{}
	var walk func(path []string)
	walk = func(path []string) {
		for i := range imports[path[len(path)-1]] {
			own, ours := strings.CutPrefix(i, module)
			if below(stage, own) || strings.HasSuffix(own, "test") || i == "testing" || strings.HasPrefix(i, "github.com/alicebob/miniredis") {
				t.Errorf("%s imports %s: no part of the product", strings.Join(path, " > "), i)
			} else if ours && !seen[own] {
				seen[own] = true
				walk(append(path, own))
			}
		}
	}
	walk([]string{"cmd/sluice"})
	if len(seen) < 20 {
		t.Errorf("the walk reached %d packages only", len(seen))
	}
}

// forbidden are imports that core must do without: it makes no system calls and runs anywhere.
var forbidden = []string{"syscall", "golang.org/x/sys/", "net/http", "os/exec", "github.com/vishvananda/", "google.golang.org/grpc", "github.com/cilium/ebpf"}

func TestCoreMakesNoSystemCalls(t *testing.T) {
	_, files := load(t)
	for _, f := range files {
		if !strings.HasPrefix(f.dir, "core/") || f.test {
			continue
		}
		for _, i := range f.ast.Imports {
			p := strings.Trim(i.Path.Value, `"`)
			for _, bad := range forbidden {
				if strings.HasPrefix(p, bad) {
					t.Errorf("%s/%s imports %s: core makes no system calls", f.dir, f.name, p)
				}
			}
		}
	}
}

func TestFixedFolders(t *testing.T) {
	_, files := load(t)
	top := map[string]bool{"core": true, "backends": true, "parsers": true, "plugins": true, "agent": true, "controller": true, "cmd": true,
		"api": true, "store": true, "console": true, "deploy": true, "docs": true, "internal": true, "test": true, "tools": true}
	for _, f := range files {
		if first, _, _ := strings.Cut(f.dir, "/"); !top[first] {
			t.Errorf("%s/%s: not a folder of docs/architecture.md", f.dir, f.name)
		}
	}
}
