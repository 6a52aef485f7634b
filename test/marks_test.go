package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// sysctlOf reads a setting of a workload's network.
func sysctlOf(t *testing.T, w *testnet.Workload, path string) string {
	t.Helper()
	var b []byte
	if err := netns.Do(w.Path, func() (err error) { b, err = os.ReadFile("/proc/sys/net/" + path); return err }); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// left is how many connections left their queues, as status counts them.
func (l *lab) left() (n uint64) {
	for _, node := range read[struct {
		Nodes []struct{ Counters map[string]uint64 }
	}](l.program, "status").Nodes {
		n += node.Counters["engine.offloaded"]
	}
	return n
}

// marked is how many of the workload's connections have a mark, as a library that is not ours reads it.
func marked(t *testing.T, w *testnet.Workload) (n int) {
	t.Helper()
	f, err := netns.Open(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := conntrack.Dial(&netlink.Config{NetNS: int(f.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	flows, err := c.Dump(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flows {
		if f.Mark != 0 {
			n++
		}
	}
	return n
}

// TestMarks runs connections behind queues that leave them once they are decided: a rule that is taken back reaches
// them all the same, and after the end, orderly or not, nothing of it is left in the workload's network.
func TestMarks(t *testing.T) {
	const counting = "netfilter/nf_conntrack_acct"
	l := newLab(t)
	before := sysctlOf(t, l.web, counting)
	l.args = append(l.args, "--backend", l.web.Name+"=nfqueue")
	d := l.start()
	l.learned()
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "nfqueue")
	if _, note := l.backendOf("web", "eth0"); strings.Contains(note, "stay in the queue") {
		t.Errorf("no connection can leave: %s", note)
	}
	leave := func() {
		t.Helper()
		from := l.left()
		until(t, 30*time.Second, "both long connections have left the queue", func() error {
			for range 20 {
				l.works("on the way out of the queue")
			}
			if n := l.left(); n < from+2 {
				return fmt.Errorf("%d left", n)
			}
			return nil
		})
	}
	leave()
	marks := func() string {
		return fmt.Sprintf("%d marked, counting %s", marked(t, l.web), sysctlOf(t, l.web, counting))
	}
	if got := marks(); got != "2 marked, counting 1" {
		t.Errorf("while they are away: %s, want two marked connections", got)
	}
	d.kill()
	l.works("after a kill")
	d = l.start()
	l.attached("web", "eth0", "nfqueue")
	leave()
	l.run("rules", "add", "--from", "web", "--to", "api", "--ports", "tcp/8080", "--action", "deny")
	for _, family := range families {
		until(t, 20*time.Second, "the connection that left is refused over "+family, func() error {
			if err := request(l.long[family]); err == nil {
				return fmt.Errorf("it continues")
			}
			return nil
		})
	}
	d.stop()
	if got, want := marks(), "0 marked, counting "+before; got != want {
		t.Errorf("afterwards: %s, want %s", got, want)
	}
	if out, err := l.web.Command("nft", "list", "ruleset").CombinedOutput(); err == nil && len(out) != 0 {
		t.Errorf("rules are left: %s", out)
	}
}
