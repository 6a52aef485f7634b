package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// Observe sends what happened after the cursor, breaks after some events, and waits after the last.
func (f *fake) Observe(r *controlv1.ObserveRequest, s grpc.ServerStreamingServer[controlv1.Event]) error {
	if err := f.takes(r.Filter); err != nil {
		return err
	}
	list := happened()
	from := slices.IndexFunc(list, func(e *controlv1.Event) bool { return e.Cursor == r.Cursor }) + 1
	f.mu.Lock()
	f.streams = append(f.streams, r.Cursor)
	each, forgets := f.each, f.forgets
	f.mu.Unlock()
	if r.Cursor != "" && (from == 0 || forgets) {
		return status.Error(codes.OutOfRange, "this cursor is not known")
	}
	if err := s.SendHeader(nil); err != nil {
		return err
	}
	for i, e := range list[from:] {
		if each > 0 && i == each {
			return status.Error(codes.Unavailable, "closing")
		}
		if err := s.Send(e); err != nil {
			return err
		}
	}
	<-s.Context().Done()
	return nil
}

// watchedOutput collects what a command writes, and ends it when that has so many lines.
type watchedOutput struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines int
	end   context.CancelFunc
}

func (w *watchedOutput) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	if w.lines -= bytes.Count(b, []byte("\n")); w.lines <= 0 {
		w.end()
	}
	return len(b), nil
}

// follow runs a command until it has written so many lines.
func follow(t *testing.T, lines int, line ...string) (out, errs string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o := &watchedOutput{lines: lines, end: cancel}
	var e bytes.Buffer
	now := func() time.Time { return noon }
	code = run(ctx, line, &screen{o, false, now}, &screen{&e, false, now})
	if o.lines > 0 {
		t.Errorf("%d lines fewer than expected", o.lines)
	}
	return o.text.String(), e.String(), code
}

// TestObserveFollow compares the lines of every kind of event.
func TestObserveFollow(t *testing.T) {
	sock := serve(t, &fake{})
	for format, lines := range map[string]int{"table": len(happened()) + 1, "json": len(happened())} { // one line is that some were missed
		got, errs, code := follow(t, lines, "observe", "-f", "--socket", sock, "-o", format)
		if code != 0 || errs != "" || strings.Contains(got, "\x1b") {
			t.Fatalf("exit code %d, errors %q, output %q", code, errs, got)
		}
		file := filepath.Join("testdata", "observe_f."+format)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("output\n%s\nwant (%v)\n%s", got, err, want)
		}
	}
}

// TestObserveResumes breaks the stream after every two events: each is shown once and in order,
// continued by its cursor.
func TestObserveResumes(t *testing.T) {
	f := &fake{each: 2}
	sock := serve(t, f)
	out, errs, code := follow(t, len(happened()), "observe", "-f", "--socket", sock, "-o", "json")
	if code != 0 {
		t.Fatalf("exit code %d, errors %q", code, errs)
	}
	var got []string
	for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
		var v eventView
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		got = append(got, v.Cursor)
	}
	if want := []string{"c1", "c2", "c3", "c4", "c5", "c6", "c7"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if want := []string{"", "c2", "c4", "c6"}; !slices.Equal(f.streams, want) {
		t.Errorf("streams from %q, want %q", f.streams, want)
	}
	if n := strings.Count(errs, "connection lost"); n != 3 || strings.Count(errs, "connected again") != n {
		t.Errorf("errors %q, want three losses and three returns", errs)
	}
}

// TestObserveForgotten has a daemon that does not know where this reader was: that is reported.
func TestObserveForgotten(t *testing.T) {
	f := &fake{each: 4, forgets: true}
	sock := serve(t, f)
	out, errs, code := follow(t, 8, "observe", "-f", "--socket", sock, "-o", "json")
	if code != 0 || strings.Count(out, "\n") != 8 || !strings.Contains(errs, "events may be missing here") {
		t.Errorf("exit code %d, errors %q, output %q", code, errs, out)
	}
	if len(f.streams) < 3 || f.streams[1] != "c4" || f.streams[2] != "" {
		t.Errorf("streams from %q, want one from c4 and then one from now on", f.streams)
	}
}

// TestFilters checks that every command sends the same flags to the server.
func TestFilters(t *testing.T) {
	f := &fake{}
	sock := serve(t, f)
	flags := strings.Fields("--from web,10.0.0.0/8 --from n1/db --to fd00::1 --about external --port 80,udp/53 --app http --verdict deny,violate --outcome refused --reason failopen --since 10m --until 2026-03-04T11:59:00Z --family ipv6 --socket " + sock)
	want := &controlv1.Filter{From: []string{"web", "10.0.0.0/8", "n1/db"}, To: []string{"fd00::1"}, About: []string{"external"}, Ports: []string{"80", "udp/53"}, Apps: []string{"http"},
		Verdicts: []controlv1.Verdict{controlv1.Verdict_VERDICT_DENY, controlv1.Verdict_VERDICT_VIOLATE}, Outcomes: []controlv1.Outcome{controlv1.Outcome_OUTCOME_REFUSED},
		Reasons: []controlv1.Reason{controlv1.Reason_REASON_FAILOPEN}, Since: noon.Add(-10 * time.Minute).UnixNano(), Until: noon.Add(-time.Minute).UnixNano(), Family: controlv1.Family_FAMILY_IPV6}
	for _, cmd := range []string{"connections", "violations", "threats", "observe"} {
		if out, errs, code := exec(t, append([]string{cmd}, flags...)...); code != 0 {
			t.Errorf("%s: exit code %d, %q, %q", cmd, code, out, errs)
		}
	}
	if _, errs, code := follow(t, 1, append([]string{"observe", "-f"}, flags...)...); code != 0 {
		t.Errorf("observe -f: %d, %q", code, errs)
	}
	if len(f.filters) < 5 {
		t.Fatalf("%d filters came, want 5 at least", len(f.filters))
	}
	for i, got := range f.filters {
		if !proto.Equal(got, want) {
			t.Errorf("filter %d: %v, want %v", i, got, want)
		}
	}
	f.filters = nil
	for _, line := range []string{"observe --kind failopen,warning --workload web", "threats --threat 1001,2007"} {
		if _, errs, code := exec(t, append(strings.Fields(line), "--socket", sock)...); code != 0 {
			t.Errorf("%s: exit code %d, %q", line, code, errs)
		}
	}
	if k := f.filters[0].Kinds; len(k) != 2 || k[0] != controlv1.EventKind_EVENT_KIND_FAILOPEN || !slices.Equal(f.filters[0].About, []string{"web"}) {
		t.Errorf("filter %v", f.filters[0])
	}
	if ids := f.filters[1].Threats; !slices.Equal(ids, []uint32{1001, 2007}) {
		t.Errorf("threats %v", ids)
	}
}

// TestPages fetches lists that come in parts: whole, and cut with a word about it.
func TestPages(t *testing.T) {
	sock := serve(t, &fake{})
	for _, tt := range []struct {
		line string
		n    int
		errs string
	}{
		{"violations --family ipv6 --limit 0", 2602, ""},
		{"violations --family ipv6 --limit 1500", 1500, "1500 of 2602 shown: --limit 0 shows all\n"},
		{"violations --family ipv6", 200, "200 of 2602 shown: --limit 0 shows all\n"},
		{"connections --limit 3 --sort last", 3, "3 of 4 shown: --limit 0 shows all\n"},
		{"threats --limit 1", 1, "1 of 2 shown: --limit 0 shows all\n"},
	} {
		out, errs, code := exec(t, append(strings.Fields(tt.line), "--socket", sock, "-o", "json")...)
		var list []struct{}
		if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != tt.n || errs != tt.errs {
			t.Errorf("%s: %d rows, code %d, errors %q (%v); want %d and %q", tt.line, len(list), code, errs, err, tt.n, tt.errs)
		}
	}
	if out, errs, code := exec(t, "observe", "--limit", "2", "--socket", sock, "-o", "json"); code != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, `"cursor":"c7"`) || !strings.Contains(errs, "2 of 7") {
		t.Errorf("the newest two events: %q, %q", out, errs)
	}
	if out, errs, _ := exec(t, "observe", "--limit", "0", "--socket", sock, "-o", "json"); strings.Count(out, "\n") != 7 || !strings.Contains(errs, "9 older events are no longer kept") {
		t.Errorf("all events: %q, %q", out, errs)
	}
}

// TestFailDefault has another user change the settings in between: the change is written on top of theirs.
func TestFailDefault(t *testing.T) {
	f := &fake{stale: 3}
	sock := serve(t, f)
	if out, errs, code := exec(t, "fail", "closed", "--socket", sock); code != 0 || out != "default: closed\n" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	if f.settings.DefaultFail != controlv1.Fail_FAIL_CLOSED || f.settings.Revision != 4 {
		t.Errorf("settings %v", &f.settings)
	}
	f.stale = 100
	if _, errs, code := exec(t, "fail", "open", "--socket", sock); code != 1 || !strings.Contains(errs, "the settings have changed") {
		t.Errorf("another user is always faster: code %d, %q", code, errs)
	}
	for line, want := range map[string]string{"fail closed web db": "web+db=FAIL_CLOSED", "fail open all": "all=FAIL_OPEN"} {
		f.modes = nil
		if _, errs, code := exec(t, append(strings.Fields(line), "--socket", sock)...); code != 0 || len(f.modes) != 1 || f.modes[0] != want {
			t.Errorf("%s: code %d, %q, %v", line, code, errs, f.modes)
		}
	}
	if _, errs, code := exec(t, "fail", "closed", "slow", "--socket", sock); code != 1 || !strings.Contains(errs, "the fail mode is stored, but not every agent") {
		t.Errorf("an agent that is late: code %d, %q", code, errs)
	}
}

// TestRuleWarnings: a rule for a group that has no members is added, with a warning.
func TestRuleWarnings(t *testing.T) {
	sock := serve(t, &fake{})
	out, errs, code := exec(t, "rules", "add", "--from", "typo", "--to", "db", "--socket", sock)
	if code != 0 || !strings.HasPrefix(out, "rule 4 added") || errs != "warning: typo has no members\n" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	if out, _, _ := exec(t, "rules", "add", "--from", "typo", "--to", "db", "--socket", sock, "-o", "json"); !strings.Contains(out, `"typo has no members"`) {
		t.Errorf("JSON: %s", out)
	}
}
