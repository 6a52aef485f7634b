package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLearningIsNotPoisoned: datagrams without an answer, in any workload's name, and scans teach nothing that is
// in force; traffic that is answered does, from many targets, too.
func TestLearningIsNotPoisoned(t *testing.T) {
	l := newLab(t)
	l.start()
	for _, family := range families {
		sink := l.api.ListenPacket(udp(family), l.api.Addr(family, 5140))
		t.Cleanup(func() { sink.Close() })
		for port := range 100 { // unanswered: a socket that only reads, and ports that refuse
			c := l.intruder.Dial(udp(family), l.api.Addr(family, 5140+port))
			_, _ = c.Write([]byte("xxxxxxxxxxxxxxxxxxxx"))
			c.Close()
		}
		for port := 9041; port < 9141; port++ { // one port of them is open: 9090
			if c, err := l.intruder.TryDial(family, l.api.Addr(family, port), time.Second); err == nil {
				_ = c.SetDeadline(time.Now().Add(time.Second))
				_, _ = c.Write([]byte("hello"))
				_, _ = c.Read(make([]byte, 5))
				c.Close()
			}
		}
		for port := 7000; port < 7060; port++ { // benign twin: many ports of web, all of which answer
			lis := l.web.Listen(family, l.web.Addr(family, port))
			go echo(lis)
			t.Cleanup(func() { lis.Close() })
			c := l.api.Dial(family, l.web.Addr(family, port))
			_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			_, _ = c.Write([]byte("hello"))
			_, _ = c.Read(make([]byte, 5))
			c.Close()
		}
	}
	l.learned()
	until(t, 10*time.Second, "the scan's rule is set aside", func() error {
		out := l.run("rules", "--set-aside")
		if !strings.Contains(out, "tcp/9090") || !strings.Contains(out, "intruder") {
			return fmt.Errorf("set aside:\n%s", out)
		}
		return nil
	})
	until(t, 10*time.Second, "all ports of web are learned", func() error {
		for _, r := range read[[]rule](l.program, "rules") {
			if r.From == "svc:default/api" && r.To == "svc:default/web" && strings.Join(r.Ports, ",") != "" && coversAll(r.Ports, 7000, 7060) {
				return nil
			}
		}
		return fmt.Errorf("rules:\n%s", l.run("rules"))
	})
	for _, r := range read[[]rule](l.program, "rules") {
		if r.From == "svc:default/intruder" {
			t.Errorf("in force: %+v", r)
		}
		if len(r.Ports) == 0 || strings.Contains(strings.Join(r.Ports, ","), "any") {
			t.Errorf("any port: %+v", r)
		}
	}
	l.run("mode", "set", "all", "protect")
	l.refused("protect", l.intruder, 9090)
	l.works("protect")
}

// coversAll reports whether TCP ports are all in a rule's list.
func coversAll(ports []string, from, to int) bool {
	for p := from; p < to; p++ {
		found := false
		for _, text := range ports {
			var lo, hi int
			if n, _ := fmt.Sscanf(text, "tcp/%d-%d", &lo, &hi); n == 1 {
				hi = lo
			}
			found = found || lo <= p && p <= hi
		}
		if !found {
			return false
		}
	}
	return true
}
