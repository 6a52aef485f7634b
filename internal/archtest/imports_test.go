package archtest_test

import (
	"strings"
	"testing"
)

// rule says what the packages below a folder may import of ours. The first
// rule whose folder fits decides. A pattern ends in /... for a folder and all below it.
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
	{"core/threat", []string{"core/packet", "core/app", "core/flow", "core/report", "core/session"}},
	{"core/sensor", []string{"core/packet", "core/app", "core/flow", "core/report", "core/stream"}},
	{"core/engine", []string{"core/...", "parsers"}},
	{"parsers/parsertest", []string{"parsers", "core/app", "core/detect"}},
	{"parsers/builtin", []string{"parsers", "parsers/...", "core/app"}},
	{"parsers/...", []string{"parsers", "core/app"}},
	{"parsers", []string{"core/app"}},
	{"backends/...", []string{"core/backend", "core/packet", "internal/...", "backends/..."}},
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
	{"internal/demo", []string{"api/...", "internal/..."}},
	{"internal/clusterdemo", []string{"api/...", "internal/..."}},
	{"internal/specstore", []string{"store", "store/blob", "core/policy"}},
	{"internal/appnames", []string{"store", "core/app"}},
	{"internal/...", []string{"internal/..."}},
	{"api/...", nil},
}

// testsMayAlso are packages that any test may import.
var testsMayAlso = []string{"internal/testnet", "internal/netns", "parsers/parsertest", "parsers/builtin", "store/storetest", "store/embedded", "backends/backendtest", "core/packet", "core/detect", "internal/consultest",
	// Plugins are tried under a whole engine.
	"core/engine", "core/policy", "core/flow", "core/report", "core/backend"}

func fits(pattern, pkg string) bool {
	if folder, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(pkg, folder+"/")
	}
	return pattern == pkg
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
			if p == f.dir || anyFits(r.may, p) || f.test && anyFits(testsMayAlso, p) {
				continue
			}
			t.Errorf("%s/%s imports %s, which %s may not", f.dir, f.name, p, r.folder)
		}
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
