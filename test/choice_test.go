package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	labs "github.com/sluicenet/sluice/internal/stage/lab"
)

// TestSidecarKeepsItsQueue: between application and sidecar there are queues whatever is chosen for the workload.
func TestSidecarKeepsItsQueue(t *testing.T) {
	l := newLab(t)
	l.sidecar(l.web, "", labs.SidecarConfig{})
	l.start()
	l.attached("web", "lo", "nfqueue")
	const rounds = 3
	l.rounds(rounds)
	l.learnedByName("web", "api", 8080, "http", rounds)
	l.run("mode", "set", "web", "protect")
	for _, how := range []struct{ choice, shown string }{{"nfqueue", "nfqueue"}, {"afpacket", "inline"}, {"nfqueue", "nfqueue"}} {
		l.run("workloads", "backend", "web", how.choice)
		l.switched(how.shown, "chosen by a command")
		backend, note := l.backendOf("web", "lo")
		if backend != "nfqueue" || strings.Contains(note, "on lo there are queues only") != (how.choice == "afpacket") {
			t.Errorf("with %s lo is attached by %s: %s", how.choice, backend, note)
		}
		l.rounds(1)
		for _, family := range families {
			if got := l.says(l.web, family, 9090, "hello"); got == "hello" {
				t.Errorf("with %s, what was not learned over %s got its answer", how.choice, family)
			}
		}
	}
}

// TestBackendUnavailable: another process has the service port. What is there stays and refuses, and the choice is
// followed as soon as it can be.
func TestBackendUnavailable(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.start()
	l.learned()
	l.run("workloads", "backend", "web", "nfqueue")
	if backend, note := l.backendOf("web", "eth0"); backend != "tap" || !strings.Contains(note, "discover mode takes copies; in protect: nfqueue, chosen by a command") {
		t.Errorf("in discover: %s: %s", backend, note)
	}
	l.run("mode", "set", "web", "protect")
	l.switched("nfqueue", "chosen by a command")
	other := newProgram(t, "--netns", l.api.Name)
	d := other.start()
	other.run("rules", "add", "--from", "any", "--to", "any")
	other.run("mode", "set", "all", "protect")
	out, err := l.try("workloads", "backend", "web", "afpacket")
	if err == nil || !strings.Contains(out, "afpacket unavailable: sluice-svcp: service port is in use by another process; enforced by nfqueue instead") {
		t.Errorf("an unavailable choice: %v, %s", err, out)
	}
	l.switched("nfqueue", "afpacket, chosen by a command, is unavailable")
	if st := l.run("status"); !strings.Contains(st, "web/eth0: afpacket unavailable") {
		t.Errorf("status does not show it:\n%s", st)
	}
	l.works("the old way")
	l.refused("the old way", l.web, 9090)
	d.stop()
	l.switched("inline", "chosen by a command")
	l.works("the new way")
	l.refused("the new way", l.web, 9090)
}

// TestChoiceIsKept over an end and a kill.
func TestChoiceIsKept(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	d := l.start()
	l.learned()
	l.run("mode", "set", "web", "protect")
	l.run("workloads", "backend", "web", "nfqueue")
	d.stop()
	d = l.start()
	l.switched("nfqueue", "chosen by a command")
	d.kill()
	l.start()
	l.switched("nfqueue", "chosen by a command")
	l.works("after a kill")
	l.refused("after a kill", l.web, 9090)
	l.run("workloads", "backend", "web", "auto")
	l.switched("inline", "hooked on the host's end")
}

// TestChoicesThatAreWrong: they are reported in a sentence, and a label that is wrong as an event too.
func TestChoicesThatAreWrong(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.args = append(l.args, "--host-network", "--node", "metal")
	l.start()
	for _, c := range []struct{ name, workload, backend, want string }{
		{"no such backend", "web", "ebpf", `there is no backend "ebpf": use nfqueue, afpacket or auto`},
		{"no such workload", "wep", "nfqueue", `no workload is called "wep": there are api, intruder, metal, web`},
		{"host network", "metal", "nfqueue", "metal lives in the network of its host"},
	} {
		if _, err := l.try("workloads", "backend", c.workload, c.backend); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	events := l.spawn(l.command("observe", "-f"))
	// Observing begins a moment after its process; each label that differs is reported again.
	n, changed := 0, time.Time{}
	text := func() string {
		return fmt.Sprintf(`web: label sluice.net/backend ignored: value "ebpf%d" is not nfqueue, afpacket or auto`, n)
	}
	until(t, patience, "a wrong label is an event", func() error {
		if n == 0 || time.Since(changed) > 3*time.Second {
			n, changed = n+1, time.Now()
			l.relabel(fmt.Sprintf("ebpf%d", n))
		}
		if !strings.Contains(events.log.String(), text()) {
			return fmt.Errorf("observed: %s", events.log)
		}
		return nil
	})
	if out := l.run("workloads"); !strings.Contains(out, fmt.Sprintf(`label sluice.net/backend ignored: value "ebpf%d" is not nfqueue, afpacket or auto`, n)) {
		t.Errorf("workloads do not show it:\n%s", out)
	}
	if out := l.run("status"); !strings.Contains(out, text()) {
		t.Errorf("status does not show it:\n%s", out)
	}
}
