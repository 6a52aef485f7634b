package backend_test

import (
	"reflect"
	"testing"

	"github.com/sluicenet/sluice/core/backend"
)

// TestDatapath checks the name of every combination of kind and side, and which of them share their queues.
func TestDatapath(t *testing.T) {
	for _, tt := range []struct {
		kind   backend.Kind
		side   backend.Side
		want   string
		shared bool
	}{
		{backend.Tap, backend.HostSide, "tap", false},
		{backend.Tap, backend.OwnSide, "tap", false},
		{backend.Tap, backend.StackSide, "tap", false}, // a tap has no hook, whatever the field contains
		{backend.Tap, backend.LoopbackSide, "tap", false},
		{backend.Inline, backend.HostSide, "inline", true},
		{backend.Inline, backend.OwnSide, "inline", true},
		{backend.Inline, backend.StackSide, "nfqueue", false},
		{backend.Inline, backend.LoopbackSide, "nfqueue", false},
		{backend.NoKind, backend.HostSide, "none", false},
		{backend.Kind(9), backend.StackSide, "none", false},
	} {
		ep := backend.Endpoint{ID: 1, Kind: tt.kind, Hook: backend.Hook{Side: tt.side}}
		if got := ep.Datapath(); got != tt.want {
			t.Errorf("%s at side %d: datapath %s, want %s", tt.kind, tt.side, got, tt.want)
		}
		if got := ep.Shared(); got != tt.shared {
			t.Errorf("%s at side %d: shared %t, want %t", tt.kind, tt.side, got, tt.shared)
		}
	}
}

// TestSame: an attachment by queues is one of the namespace, whatever its interface; any other is one of its interface.
func TestSame(t *testing.T) {
	steered := backend.Endpoint{ID: 1, Kind: backend.Inline, NetNS: "/a", Interface: "eth0", Index: 2, Hook: backend.Hook{NetNS: "/h", Interface: "v", Index: 9}}
	queued := steered
	queued.Hook = backend.Hook{NetNS: "/a", Interface: "eth0", Index: 2, Side: backend.StackSide}
	for _, c := range []struct {
		name              string
		from              backend.Endpoint
		change            func(*backend.Endpoint)
		attached, address bool
	}{
		{"nothing", steered, func(*backend.Endpoint) {}, true, true},
		{"name inside", steered, func(e *backend.Endpoint) { e.Interface = "net0" }, true, false},
		{"number", steered, func(e *backend.Endpoint) { e.Index = 3 }, false, false},
		{"hook", steered, func(e *backend.Endpoint) { e.Hook.Index = 10 }, false, true},
		{"fail mode", steered, func(e *backend.Endpoint) { e.Fail = backend.FailClosed }, false, true},
		{"MAC address", steered, func(e *backend.Endpoint) { e.MAC[5] = 1 }, true, false},
		{"queues instead", steered, func(e *backend.Endpoint) { e.Hook = queued.Hook }, false, true},
		{"rings instead", queued, func(e *backend.Endpoint) { e.Hook = steered.Hook }, false, true},
		{"interface of queues", queued, func(e *backend.Endpoint) {
			e.Interface, e.Index, e.Hook.Interface, e.Hook.Index = "eth1", 3, "eth1", 3
		}, true, false},
		{"namespace of queues", queued, func(e *backend.Endpoint) { e.Hook.NetNS = "/b" }, false, true},
		{"others", queued, func(e *backend.Endpoint) { e.Others = []int{3} }, true, false},
		{"further", queued, func(e *backend.Endpoint) { e.Further = []int{3} }, true, false},
	} {
		to := c.from
		c.change(&to)
		if a, b := c.from.SameAttachment(&to), c.from.SameInterface(&to); a != c.attached || b != c.address {
			t.Errorf("%s: same attachment %t, same interface %t; want %t, %t", c.name, a, b, c.attached, c.address)
		}
	}
}

// TestZeros: an endpoint of which nothing else is known fails open, on the host's side, and has no kind.
func TestZeros(t *testing.T) {
	var ep backend.Endpoint
	if ep.Fail != backend.FailOpen || ep.Hook.Side != backend.HostSide || ep.Kind != backend.NoKind || ep.Kind.String() != "none" {
		t.Errorf("got %+v", ep)
	}
}

// TestStatsAdd checks by reflection that no counter is forgotten when queues are summed.
func TestStatsAdd(t *testing.T) {
	var a, b backend.Stats
	va, vb := reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()
	for i := range va.NumField() {
		va.Field(i).SetUint(uint64(i + 1))
		vb.Field(i).SetUint(uint64(100 * (i + 1)))
	}
	before := b
	a.Add(b)
	for i := range va.NumField() {
		if got, want := va.Field(i).Uint(), uint64(101*(i+1)); got != want {
			t.Errorf("%s: %d, want %d", va.Type().Field(i).Name, got, want)
		}
	}
	if b != before {
		t.Errorf("the other queue's counters changed: %+v", b)
	}
	sum := a
	if a.Add(backend.Stats{}); a != sum {
		t.Errorf("nothing added: %+v, want %+v", a, sum)
	}
}

// TestFlowKeyIsComparable: two keys of one flow are one entry of a map, and each field distinguishes flows.
func TestFlowKeyIsComparable(t *testing.T) {
	base := backend.FlowKey{Endpoint: 1, ClientPort: 2, ServerPort: 3, Proto: 6}
	seen := map[backend.FlowKey]int{base: 0}
	for i, change := range []func(*backend.FlowKey){
		func(k *backend.FlowKey) { k.Endpoint++ },
		func(k *backend.FlowKey) { k.Client[15]++ },
		func(k *backend.FlowKey) { k.Server[15]++ },
		func(k *backend.FlowKey) { k.ClientPort++ },
		func(k *backend.FlowKey) { k.ServerPort++ },
		func(k *backend.FlowKey) { k.Proto = 17 },
		func(k *backend.FlowKey) { k.IPv6 = true },
	} {
		k := base
		change(&k)
		if other, ok := seen[k]; ok {
			t.Errorf("changes %d and %d give one key", other, i+1)
		}
		seen[k] = i + 1
	}
	if len(seen) != reflect.TypeFor[backend.FlowKey]().NumField()+1 {
		t.Errorf("%d keys: a field of FlowKey has no case here", len(seen))
	}
	if i, ok := seen[backend.FlowKey{Endpoint: 1, ClientPort: 2, ServerPort: 3, Proto: 6}]; !ok || i != 0 {
		t.Error("an equal key was not found")
	}
}
