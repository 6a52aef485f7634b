package testnet

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// MeshUID is the user and group that the rules of MeshRules take for the sidecar's.
const MeshUID = 1337

// MeshRules places the rules that Istio's init container places in a pod, by a tool: iptables-nft or
// iptables-legacy, and its counterpart for IPv6. Whatever goes out goes to port 15001, whatever
// comes in to 15006, but for what the user MeshUID does. Without the tool the test is skipped.
func (s *NS) MeshRules(tool string) {
	s.t.Helper()
	for _, f := range []struct{ tool, inbound, local string }{
		{tool, "127.0.0.6/32", "127.0.0.1/32"}, {strings.Replace(tool, "ip", "ip6", 1), "::6/128", "::1/128"},
	} {
		RequireTool(s.t, f.tool+"-restore")
		cmd := s.Command(f.tool + "-restore")
		cmd.Stdin = strings.NewReader(meshRules(f.inbound, f.local))
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("%s: %v: %s", f.tool, err, out)
		}
	}
	if out, err := s.Command("ip", "-6", "addr", "replace", "::6/128", "dev", "lo").CombinedOutput(); err != nil {
		s.t.Fatalf("address of the sidecar: %v: %s", err, out)
	}
}

func meshRules(inbound, local string) string {
	const id = MeshUID
	rules := []string{"*nat"}
	for _, c := range []string{"INBOUND", "REDIRECT", "IN_REDIRECT", "OUTPUT"} {
		rules = append(rules, fmt.Sprintf(":ISTIO_%s - [0:0]", c))
	}
	add := func(format string, args ...any) { rules = append(rules, "-A "+fmt.Sprintf(format, args...)) }
	add("ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001")
	add("ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006")
	add("PREROUTING -p tcp -j ISTIO_INBOUND")
	for _, port := range []int{15008, 15090, 15021, 15020} {
		add("ISTIO_INBOUND -p tcp --dport %d -j RETURN", port)
	}
	add("ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT")
	add("OUTPUT -p tcp -j ISTIO_OUTPUT")
	add("ISTIO_OUTPUT -s %s -o lo -j RETURN", inbound)
	for _, owner := range []string{"uid", "gid"} {
		add("ISTIO_OUTPUT ! -d %s -o lo -p tcp -m owner --%s-owner %d -j ISTIO_IN_REDIRECT", local, owner, id)
		add("ISTIO_OUTPUT -o lo -m owner ! --%s-owner %d -j RETURN", owner, id)
		add("ISTIO_OUTPUT -m owner --%s-owner %d -j RETURN", owner, id)
	}
	add("ISTIO_OUTPUT -d %s -j RETURN", local)
	add("ISTIO_OUTPUT -j ISTIO_REDIRECT")
	return strings.Join(append(rules, "COMMIT", ""), "\n")
}

// RequireTool skips a test that needs a program; where root tests must run that is a failure.
func RequireTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		why := "needs " + name + ": deploy/setup.sh test installs it"
		if os.Getenv("SLUICE_ROOT_TESTS") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
}
