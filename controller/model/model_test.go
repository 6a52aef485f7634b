package model_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/policy"
)

func TestParsePort(t *testing.T) {
	tests := []struct{ in, want, err string }{
		{"any", "any", ""}, {"tcp/80", "tcp/80", ""}, {" TCP/8000-8100 ", "tcp/8000-8100", ""}, {"udp", "udp/any", ""},
		{"sctp/any", "sctp/any", ""}, {"icmp", "icmp", ""}, {"icmpv6", "icmpv6", ""}, {"any/53", "any/53", ""}, {"ip-200", "ip-200", ""},
		{"tcp/0-65535", "tcp/any", ""},
		{"80", "", "write tcp/80 or udp/80"}, {"tcp/", "", "not a port from 0 to 65535"}, {"tcp/65536", "", "not a port"}, {"tcp/x", "", "not a port"},
		{"tcp/90-80", "", "write tcp/80-90"}, {"icmp/8", "", "has no ports"}, {"tpc/80", "", "no protocol is called"}, {"ip-256", "", "no protocol"}, {"", "", "no protocol"},
	}
	for _, tt := range tests {
		p, err := model.ParsePort(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: got error %v, want %q", tt.in, err, tt.err)
			}
		} else if err != nil || p.String() != tt.want {
			t.Errorf("%q: got %s, %v, want %s", tt.in, p, err, tt.want)
		}
	}
}

func FuzzParsePort(f *testing.F) {
	for _, s := range []string{"any", "tcp/80", "tcp/8000-8100", "icmp", "any/53", "ip-200", "80", "-/-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := model.ParsePort(s)
		if err != nil {
			return
		}
		if again, err := model.ParsePort(p.String()); err != nil || again != p {
			t.Errorf("%q is %+v, whose text %q is %+v, %v", s, p, p.String(), again, err)
		}
	})
}

func TestRuleJSON(t *testing.T) {
	ports, err := model.ParsePorts([]string{"udp/53,tcp/80", "tcp/80"})
	if err != nil {
		t.Fatal(err)
	}
	apps, err := model.ParseApps([]string{"redis,http", "ssl", "unknown", "app-12000"})
	if err != nil {
		t.Fatal(err)
	}
	r := model.Rule{ID: 7, From: "svc:default/web", To: "external", Ports: ports, Apps: apps, Action: model.Deny, Origin: model.ByUser, Created: 5}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":7,"from":"svc:default/web","to":"external","ports":["tcp/80","udp/53"],"apps":["unknown","http","tls","redis","app-12000"],"action":"deny","origin":"user","created":5}`
	if string(b) != want {
		t.Errorf("got %s\nwant %s", b, want)
	}
	var back model.Rule
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(back, r, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if err := json.Unmarshal([]byte(`{"apps":["htpp"]}`), &back); err == nil || !strings.Contains(err.Error(), `"htpp"`) {
		t.Errorf("got %v", err)
	}
	if ports, err := model.ParsePorts([]string{"tcp/80", "any"}); err != nil || ports != nil {
		t.Errorf("any among ports: got %v, %v", ports, err)
	}
}

func TestRuleValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*model.Rule)
		want   string
	}{
		{"good", func(*model.Rule) {}, ""},
		{"no group", func(r *model.Rule) { r.From = "" }, "from: the name of the group is empty"},
		{"bad service", func(r *model.Rule) { r.To = "svc:web" }, "write svc:NAMESPACE/SERVICE"},
		{"bad user group", func(r *model.Rule) { r.To = "Team A" }, "use small letters"},
		{"action", func(r *model.Rule) { r.Action = "drop" }, "use allow or deny"},
		{"origin", func(r *model.Rule) { r.Origin = "" }, "use user, learned or imported"},
		{"undecided", func(r *model.Rule) { r.Apps = model.Apps{app.Undecided} }, "no session stays undecided"},
		{"comment", func(r *model.Rule) { r.Comment = strings.Repeat("x", 1001) }, "use up to 1000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := model.Rule{From: "any", To: "team-a.x", Action: model.Allow, Origin: model.ByUser}
			tt.change(&r)
			if got := fmt.Sprint(r.Validate()); tt.want == "" && got != "<nil>" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestGroupValidate(t *testing.T) {
	tests := []struct {
		name  string
		group model.Group
		want  string
	}{
		{"service", model.Group{Name: "svc:default/web", Mode: policy.Protect, Hold: time.Second}, ""},
		{"user", model.Group{Name: "team-a", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, ""},
		{"reserved", model.Group{Name: "nodes"}, "is reserved"},
		{"mode of a user group", model.Group{Name: "team-a", Mode: policy.Protect}, "carries no mode"},
		{"selector of a service", model.Group{Name: "svc:a/b", Selector: &model.Selector{Service: "x"}}, "make a user group"},
		{"hold", model.Group{Name: "svc:a/b", Hold: time.Hour}, "up to one minute"},
		{"prefix", model.Group{Name: "team-a", CIDRs: make([]netip.Prefix, 1)}, "is not a prefix"},
		{"long", model.Group{Name: strings.Repeat("a", 254)}, "use 253 at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprint(tt.group.Validate()); tt.want == "" && got != "<nil>" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	groups := []string{"svc:default/web", "svc:default/db", "svc:shop/db", "team-a"}
	tests := []struct{ in, want, err string }{
		{"web", "svc:default/web", ""}, {"shop/db", "svc:shop/db", ""}, {"svc:shop/db", "svc:shop/db", ""}, {"team-a", "team-a", ""}, {"external", "external", ""},
		{"db", "", "may be svc:default/db or svc:shop/db"}, {"cache", "", "no group is called"}, {"", "", "empty"},
	}
	for _, tt := range tests {
		got, err := model.Resolve(groups, tt.in)
		if got != tt.want || !strings.Contains(fmt.Sprint(err), tt.err) {
			t.Errorf("%q: got %q, %v, want %q, %q", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestRules(t *testing.T) {
	rs := model.NewRules(nil, model.Order{})
	user := model.Rule{From: "any", To: "any", Action: model.Allow, Origin: model.ByUser}
	add := func(before uint32) {
		t.Helper()
		if _, err := rs.Add(user, before); err != nil {
			t.Fatal(err)
		}
	}
	ids := func() (out []uint32) {
		for _, r := range rs.All() {
			out = append(out, r.ID)
		}
		return out
	}
	rs.PutLearned(model.Rule{From: "external", To: "svc:a/b", Action: model.Allow})
	add(0)
	add(0)
	add(1)
	if got, want := ids(), []uint32{3, 1, 2, 10001}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := rs.Delete(3); err != nil {
		t.Fatal(err)
	}
	if _, err := rs.Delete(10001); err != nil {
		t.Fatal(err)
	}
	rs = model.NewRules(rs.All(), rs.Order()) // a restart
	add(2)
	rs.PutLearned(model.Rule{From: "external", To: "svc:a/b", Action: model.Allow})
	if got, want := ids(), []uint32{1, 4, 2, 10002}; !cmp.Equal(got, want) {
		t.Errorf("after a restart: got %v, want %v", got, want)
	}
	for _, err := range []error{second(rs.Add(user, 10002)), second(rs.Add(user, 99)), second(rs.Delete(99))} {
		if !errors.Is(err, model.ErrNoRule) {
			t.Errorf("got %v, want %v", err, model.ErrNoRule)
		}
	}
	lost := model.NewRules(rs.All(), model.Order{})
	if got := lost.Order(); got.NextUser != 5 || got.NextLearned != 10003 || len(got.User) != 3 {
		t.Errorf("with its order lost: got %+v", got)
	}
	full := model.NewRules(nil, model.Order{NextUser: model.LastUserID + 1})
	if r, err := full.Add(user, 0); err != nil || r.ID != 1<<30 {
		t.Errorf("with ids spent: got %d, %v", r.ID, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestSettingsValidate(t *testing.T) {
	good := model.Settings{Internal: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, s := range []model.Settings{{DefaultMode: 9}, {Exempt: make([]netip.Prefix, 1)}} {
		if s.Validate() == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}
