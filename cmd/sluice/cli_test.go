package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files again")

// exec runs a command line and gives what it wrote and its exit code.
func exec(t *testing.T, line ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	now := func() time.Time { return noon }
	code = run(t.Context(), line, &screen{&o, false, now}, &screen{&e, false, now})
	return o.String(), e.String(), code
}

// Times are shown in UTC, whatever the machine's zone. It is set before any goroutine reads it.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

func TestGolden(t *testing.T) {
	sock := serve(t, &fake{})
	tests := []struct{ name, line string }{
		{"status", "status"}, {"workloads", "workloads"}, {"groups", "groups"}, {"groups", "groups list"}, {"rules", "rules"}, {"rules", "rules list"}, {"connections", "connections"},
		{"violations", "violations"}, {"threats", "threats"}, {"threats_packet", "threats --packet"}, {"observe", "observe"}, {"why", "why web db 5432"},
		{"why_app", "why web db 5432 --app redis"}, {"fail", "fail"}, {"fail_default", "fail closed"},
		{"rules_add", "rules add --from web --to db --ports tcp/80,udp/53 --apps http --action deny"}, {"rules_delete", "rules delete 3"},
		{"rules_aside", "rules --set-aside"}, {"rules_accept", "rules accept 1001"}, {"rules_drop", "rules drop 1001 1002"},
		{"store_accept", "store accept n1 n2"}, {"plugins", "plugins list"}, {"backend", "workloads backend web nfqueue"},
	}
	for _, tt := range tests {
		for _, format := range []string{"table", "json"} {
			t.Run(tt.name+"_"+format, func(t *testing.T) {
				got, errs, code := exec(t, append(strings.Fields(tt.line), "--socket", sock, "-o", format)...)
				if code != 0 || errs != "" {
					t.Fatalf("exit code %d, errors %q", code, errs)
				}
				if strings.Contains(got, "\x1b") {
					t.Errorf("control characters reach the terminal: %q", got)
				}
				file := filepath.Join("testdata", tt.name+"."+format)
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil || got != string(want) {
					t.Errorf("output\n%s\nwant (%v)\n%s", got, err, want)
				}
				dec := json.NewDecoder(strings.NewReader(got))
				for format == "json" && dec.More() {
					var v any
					if err := dec.Decode(&v); err != nil {
						t.Fatalf("not JSON: %v", err)
					}
				}
			})
		}
	}
}

func TestModeSet(t *testing.T) {
	f := &fake{}
	sock := serve(t, f)
	tests := []struct {
		name, line, out, errs string
		code                  int
	}{
		{"one", "mode set web protect", "svc:default/web: protect\nenforced after ", "", 0},
		{"several", "mode set web api monitor", "svc:default/web: monitor\nenforced after ", "", 0},
		{"a member that is not attached", "mode set db protect", "svc:default/db: protect\nenforced after ", "netns:db: eth0 is gone", 1},
		{"not enforced in time", "mode set slow protect", "", "not every agent enforced it within 10s", 1},
		{"no such group", "mode set nope protect", "", "error: there is no group \"nope\"", 1},
		{"no such mode", "mode set web block", "", "block", 1},
		{"no mode", "mode set web", "", "name at least one group", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := exec(t, append(strings.Fields(tt.line), "--socket", sock)...)
			if code != tt.code || !strings.HasPrefix(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("code %d, output %q, errors %q; want %d, %q, %q", code, out, errs, tt.code, tt.out, tt.errs)
			}
		})
	}
	if got := strings.Join(f.modes[:2], " "); got != "web=protect web+api=monitor" {
		t.Errorf("modes set %q", got)
	}
}

func TestBackend(t *testing.T) {
	sock := serve(t, &fake{})
	tests := []struct {
		name, line, out, errs string
		code                  int
	}{
		{"unavailable", "workloads backend full nfqueue", "full: nfqueue\nINTERFACE  BACKEND  WHY\neth0       inline   nfqueue unavailable: no free queue number", "", 1},
		{"agent away", "workloads backend slow nfqueue", "slow: nfqueue\n", "the agent did not follow it within 10s", 1},
		{"not waited for", "workloads backend slow nfqueue --wait 0", "slow: nfqueue\n", "", 0},
		{"no such workload", "workloads backend wep nfqueue", "", `error: no workload is called "wep": there are db, web`, 1},
		{"no such backend", "workloads backend web ebpf", "", `there is no backend "ebpf": use nfqueue, afpacket or auto`, 1},
		{"no backend", "workloads backend web", "", "name a workload, then nfqueue, afpacket or auto", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := exec(t, append(strings.Fields(tt.line), "--socket", sock)...)
			if code != tt.code || !strings.HasPrefix(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("code %d, output %q, errors %q; want %d, %q, %q", code, out, errs, tt.code, tt.out, tt.errs)
			}
		})
	}
}

func TestCommandErrors(t *testing.T) {
	sock := serve(t, &fake{})
	none := filepath.Join(t.TempDir(), "none")
	tests := []struct{ name, line, want string }{
		{"no daemon", "status --socket " + none, "no sluice is listening on " + none + ": start one with `sluice standalone`"},
		{"unknown command", "statsu", "there is no command \"statsu\": did you mean `sluice status`?"},
		{"unknown command of plugins", "plugins lst", "there is no command \"plugins lst\": use `sluice plugins list`"},
		{"plugins of a folder that is not there", "plugins list " + none, none + ": no such file"},
		{"plugins of two folders", "plugins list a b", `unexpected argument "b"`},
		{"plugin that is not there", "plugins check " + none, none + ": no such file"},
		{"unknown flag", "status --nope", "see `sluice status --help`"},
		{"unknown output", "status -o yaml", `there is no output "yaml"`},
		{"missing arguments", "why web", "TO and PORT are missing: use `sluice why FROM TO PORT`"},
		{"missing argument", "why web db", "PORT is missing: use `sluice why FROM TO PORT`"},
		{"too many arguments", "status now", "unexpected argument \"now\": use `sluice status`"},
		{"another program's verb", "get", "name what to list, as in `sluice workloads`"},
		{"another program's verb and a thing", "get rules", "use `sluice rules`"},
		{"short word", "xyz", "there is no command \"xyz\": see `sluice --help`"},
		{"near subcommand", "rules ad", "there is no command \"ad\" of `sluice rules`: did you mean `sluice rules add`?"},
		{"unknown subcommand", "rules frobnicate", "did you mean `sluice rules accept` or `sluice rules add` or `sluice rules delete` or `sluice rules drop` or `sluice rules list`?"},
		{"near subcommand of mode", "mode st web protect", "did you mean `sluice mode set`?"},
		{"remove is delete", "rules remove x", "\"x\" is not the id of a rule"},
		{"no capture", "replay", "FILE is missing: use `sluice replay"},
		{"capture that is not there", "replay nope.pcap", "error: nope.pcap: no such file or directory: give the path of a pcap or pcapng file"},
		{"rule that is not there", "rules delete 9 --socket " + sock, "error: there is no rule 9"},
		{"rule that is no number", "rules delete x", `"x" is not the id of a rule`},
		{"rule without ends", "rules add", `required flag(s) "from", "to" not set`},
		{"unknown order", "connections --sort colour", `cannot sort by "colour"`},
		{"unknown verdict", "observe --verdict maybe", `no verdict is called "maybe": use open, learn, allow, violate, deny, pending`},
		{"unknown outcome", "connections --outcome lost", `no outcome is called "lost": use opening, established`},
		{"unknown reason", "violations --reason bad", `no reason is called "bad"`},
		{"unknown kind", "observe --kind start", `no kind of event is called "start": use opened, ended, violation`},
		{"unknown family", "threats --family ipx", `no family is called "ipx": use ipv4, ipv6`},
		{"unknown time", "connections --since yesterday", `--since "yesterday" is neither a duration such as 10m nor a time`},
		{"a client that nothing is", "connections --from wep --socket " + sock, `error: nothing is called "wep": did you mean "web"?`},
		{"a server that nothing is", "violations --to wep --socket " + sock, `error: nothing is called "wep"`},
		{"an end that nothing is", "threats --about wep --socket " + sock, `error: nothing is called "wep"`},
		{"events of nothing", "observe --about wep --socket " + sock, `error: nothing is called "wep"`},
		{"events of nothing, followed", "observe -f --about wep --socket " + sock, `error: nothing is called "wep"`},
		{"a command below rules", "rules ad", "there is no command \"ad\" of `sluice rules`: did you mean `sluice rules add`?"},
		{"a backend that is a workload", "workloads wep", "there is no command \"wep\" of `sluice workloads`"},
		{"no such action", "rules add --from a --to b --action refuse --socket " + sock, `no action is called "refuse": use allow, deny`},
		{"no such fail mode", "fail shut web", `no fail mode is called "shut": use open, closed`},
		{"fail mode of a group that is not there", "fail open nope --socket " + sock, `error: there is no group "nope"`},
		{"standalone: fail", "standalone --fail shut", `--fail: no fail mode is called "shut"`},
		{"standalone: mode", "standalone --mode off", "--mode: "},
		{"standalone: parsers", "standalone --parsers remote", "--parsers: "},
		{"standalone: log level", "standalone --log-level loud", "--log-level: "},
		{"standalone: log format", "standalone --log-format xml", "--log-format: "},
		{"standalone: long socket", "standalone --socket /" + strings.Repeat("x", 120), "Linux takes 107 at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := exec(t, strings.Fields(tt.line)...)
			if code != 1 || out != "" || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("code %d, output %q, errors %q; want 1 and one line with %q", code, out, errs, tt.want)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	var check func(path []string)
	root := newRoot(&screen{Writer: &bytes.Buffer{}}, &screen{Writer: &bytes.Buffer{}})
	check = func(path []string) {
		out, _, code := exec(t, append(path, "--help")...)
		cmd, _, err := root.Find(path)
		if err != nil || code != 0 || cmd.Short == "" {
			t.Fatalf("%v: code %d, %v", path, code, err)
		}
		if len(cmd.Commands()) == 0 && !strings.Contains(out, "Examples:") {
			t.Errorf("%v: no examples in its help", path)
		}
		for _, sub := range cmd.Commands() {
			if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
				check(append(append([]string{}, path...), sub.Name()))
			}
		}
	}
	check(nil)
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 150 << 10: "150 KiB", 3 << 30: "3.0 GiB", 1 << 63: "8.0 EiB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("humanBytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDoctor(t *testing.T) {
	out, _, code := exec(t, "doctor", "-o", "json")
	var v struct {
		OK     bool    `json:"ok"`
		Checks []check `json:"checks"`
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if (code == 0) != v.OK || len(v.Checks) < 8 {
		t.Errorf("exit code %d, ok %t, %d checks", code, v.OK, len(v.Checks))
	}
	for _, k := range v.Checks {
		if !k.OK && (k.Cost == "" || k.Fix == "") {
			t.Errorf("%s is missing without a cost or a way out", k.Name)
		}
	}
	for _, name := range []string{"netfilter queues", "connection tracking", "socket tracepoint", "Docker"} {
		if os.Geteuid() == 0 && !slices.ContainsFunc(v.Checks, func(k check) bool { return k.Name == name && !k.Essential }) {
			t.Errorf("nothing is said about %s", name)
		}
	}
}
