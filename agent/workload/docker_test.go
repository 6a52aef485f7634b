package workload_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

func TestNewDocker(t *testing.T) {
	tests := []struct{ name, endpoint, err string }{
		{"usual", "", ""}, {"url", "unix:///x/docker.sock", ""}, {"path", "/x/docker.sock", ""},
		{"tcp", "tcp://127.0.0.1:2375", "give the daemon's socket on this machine"}, {"relative", "unix://docker.sock", "give the daemon's socket"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := workload.NewDocker(workload.DockerConfig{Endpoint: tt.endpoint})
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

// docker starts a daemon.
func docker(t *testing.T) *testnet.Docker {
	t.Helper()
	testnet.RequireDocker(t)
	n := testnet.New(t)
	return n.Docker(n.Namespace("host"))
}

// followDocker follows a daemon's containers.
func followDocker(t *testing.T, d *testnet.Docker) *follow {
	t.Helper()
	s, err := workload.NewDocker(workload.DockerConfig{Endpoint: "unix://" + d.Socket, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	return followSource(t, s)
}

// followSource runs a source until the test ends.
func followSource(t *testing.T, s workload.Source) *follow {
	t.Helper()
	f := followLater(t, s)
	f.until("synced", func() bool { return f.count(workload.Synced) == 1 })
	return f
}

func wid(id string) string { return "docker:" + id[:12] }

func sleeper(name, network string, labels map[string]string) testnet.Container {
	return testnet.Container{Name: name, Network: network, Labels: labels, Command: []string{"/bin/sleep", "600"}}
}

// is waits until a workload is reported and as it should be.
func (f *follow) is(what, id string, ok func(w *workload.Workload) bool) {
	f.t.Helper()
	f.until(what, func() bool {
		w, there := f.last[wid(id)]
		return there && ok(&w)
	})
}

func (f *follow) gone(what, id string) {
	f.t.Helper()
	f.until(what, func() bool { _, there := f.last[wid(id)]; return !there })
}

func always(*workload.Workload) bool { return true }

func TestDockerContainers(t *testing.T) {
	d := docker(t)
	labels := map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "tier": "front"}
	web := d.Run(sleeper("web1", "", labels))
	stopped := d.Create(sleeper("later", "", nil))
	f := followDocker(t, d)
	f.is("a container that was there", web, func(w *workload.Workload) bool {
		return w.Name == "web1" && w.Group() == "svc:shop/web" && w.Labels["tier"] == "front" && w.Image == testnet.DockerImage && w.Node == "n1" && w.Source == "docker" &&
			slices.Equal(w.Containers, []string{web}) && !w.HostNet && len(w.Interfaces) == 1 && w.Interfaces[0].Kind == "veth" && families(w.Interfaces[0].Addresses) == "46" &&
			w.NetNS == fmt.Sprintf("/proc/%d/ns/net", d.Pid(web))
	})
	f.until("nothing else reported", func() bool { return len(f.last) == 1 })

	d.Do("POST", "/containers/"+stopped+"/start", nil)
	f.is("one that was made before", stopped, func(w *workload.Workload) bool { return w.Group() == "svc:default/later" })
	d.Do("POST", "/containers/"+stopped+"/rename?name=renamed", nil)
	f.is("its new name and old group", stopped, func(w *workload.Workload) bool { return w.Name == "renamed" && w.Group() == "svc:default/later" })

	d.Do("POST", "/networks/create", map[string]any{"Name": "second"})
	d.Do("POST", "/networks/second/connect", map[string]any{"Container": web})
	f.is("its second network", web, func(w *workload.Workload) bool { return len(w.Interfaces) == 2 })
	d.Do("POST", "/networks/second/disconnect", map[string]any{"Container": web})
	f.is("the network gone again", web, func(w *workload.Workload) bool { return len(w.Interfaces) == 1 })

	added := f.added(web)
	d.Do("POST", "/containers/"+web+"/pause", nil)
	d.Do("POST", "/containers/"+web+"/unpause", nil)
	d.Do("POST", "/containers/"+web+"/restart", nil)
	f.is("reported again with its group", web, func(w *workload.Workload) bool { return f.addedLocked(web) == added+1 && w.Group() == "svc:shop/web" })
	d.Remove(web)
	f.gone("a removed container", web)
}

func TestDockerShared(t *testing.T) {
	d := docker(t)
	f := followDocker(t, d)
	pod := d.Run(sleeper("k8s_POD_x", "", map[string]string{"io.kubernetes.pod.name": "api-1", "io.kubernetes.pod.namespace": "prod", "app": "api"}))
	app := d.Run(sleeper("app", "container:"+pod, nil))
	f.is("one workload for the namespace", pod, func(w *workload.Workload) bool {
		return w.Name == "api-1" && w.Group() == "svc:prod/api" && slices.Equal(w.Members, []string{"app"}) && slices.Equal(w.Containers, []string{pod, app})
	})
	group := f.groups(app)
	kill(t, d.Pid(pod))
	f.gone("who made the namespace", pod)
	d.Do("POST", "/containers/"+pod+"/start", nil)
	f.is("there again", pod, always)
	if later := f.groups(app); slices.ContainsFunc(later[len(group):], func(g string) bool { return g != "svc:prod/api" }) {
		t.Errorf("who shared it was reported in groups %q meanwhile, want that of its maker", later)
	}
	d.Do("POST", "/containers/"+app+"/restart", nil)
	f.is("the member again", pod, func(w *workload.Workload) bool { return len(w.Members) == 1 })
	d.Remove(app)
	f.is("the member gone", pod, func(w *workload.Workload) bool { return len(w.Members) == 0 })
	host, none := d.Run(sleeper("hosty", "host", nil)), d.Run(sleeper("lonely", "none", nil))
	f.is("a container in the host's network", host, func(w *workload.Workload) bool { return w.HostNet && len(w.Interfaces) == 0 && w.NetNS != "" })
	f.until("none without a network", func() bool { _, reported := f.last[wid(none)]; return !reported && len(f.last) == 2 })
}

func TestDockerDaemon(t *testing.T) {
	d := docker(t)
	stays, goes := d.Run(sleeper("stays", "", nil)), d.Run(sleeper("goes", "", nil))
	f := followDocker(t, d)
	f.is("both", stays, always)
	pid := d.Pid(goes)
	d.Kill()
	kill(t, pid)
	f.gone("one that ended while the daemon was away", goes)
	added := f.added(stays)
	d.Start()
	more := d.Run(sleeper("more", "", nil))
	f.is("one after the daemon's restart", more, always)
	if n := f.added(stays); n != added {
		t.Errorf("a container that continued was reported %d times, want %d", n, added)
	}
}

// TestDockerLater: a daemon that is not there at the beginning is waited for.
func TestDockerLater(t *testing.T) {
	d := docker(t)
	box := d.Create(sleeper("box", "", nil))
	d.Stop()
	f := followDocker(t, d) // synced without it
	d.Start()
	d.Do("POST", "/containers/"+box+"/start", nil)
	f.is("one that runs since", box, always)
}

// TestDockerMany starts and removes many containers at one time, one of which is started again and again.
func TestDockerMany(t *testing.T) {
	d := docker(t)
	f := followDocker(t, d)
	loop := d.Create(testnet.Container{Name: "loop", Command: []string{"/bin/true"}})
	const n = 12
	ids := make([]string, n)
	for i := range ids {
		ids[i] = d.Create(sleeper(fmt.Sprintf("many-%d", i), "", nil))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 5 {
			_, _ = d.Call("POST", "/containers/"+loop+"/restart", nil)
		}
	})
	for _, id := range ids {
		wg.Go(func() { _, _ = d.Call("POST", "/containers/"+id+"/start", nil) })
	}
	wg.Wait()
	for _, id := range ids {
		f.is("each of many", id, func(w *workload.Workload) bool { return len(w.Interfaces) == 1 && len(w.Interfaces[0].Addresses) == 2 })
	}
	f.until("the one that ends at once reported some times", func() bool { return f.addedLocked(loop) >= 2 })
	for _, id := range ids {
		wg.Go(func() { _, _ = d.Call("DELETE", "/containers/"+id+"?force=1", nil) })
	}
	wg.Wait()
	f.until("all gone", func() bool { return len(f.last) == 0 })
}

// TestDockerQuick measures from the beginning of a container's first process to the event; most
// are reported before.
func TestDockerQuick(t *testing.T) {
	d := docker(t)
	f := followDocker(t, d)
	const runs = 5
	early := 0
	for i := range runs {
		id := d.Create(testnet.Container{Name: fmt.Sprintf("quick%d", i), Command: []string{"/bin/true"}})
		d.Do("POST", "/containers/"+id+"/start", nil)
		started := time.Now()
		f.until("a container that ends at once", func() bool { return f.addedLocked(id) == 1 })
		at := f.when(id)
		if at.Before(started) {
			early++
		}
		t.Logf("reported %v after the start was answered", at.Sub(started).Round(time.Millisecond))
		f.gone("it ended", id)
	}
	if early == 0 {
		t.Errorf("none of %d containers was reported before its start was answered", runs)
	}
}

func TestMerge(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	b := n.Bridge("a")
	w := b.Workloads[0]
	first, second := make(reported), make(reported)
	f := followLater(t, workload.Merge(first, second))
	a := workload.Workload{ID: "one", NetNS: w.Path}
	z := workload.Workload{ID: "two", NetNS: w.Path}
	second <- workload.Event{Kind: workload.Added, Workload: z}
	f.until("the second's", func() bool { return f.last["two"].ID != "" })
	first <- workload.Event{Kind: workload.Added, Workload: a}
	f.until("the first's instead", func() bool { return f.last["one"].ID != "" && len(f.last) == 1 })
	first <- workload.Event{Kind: workload.Synced}
	second <- workload.Event{Kind: workload.Synced}
	f.until("one end of the beginning", func() bool { return f.count(workload.Synced) == 1 })
	first <- workload.Event{Kind: workload.Removed, Workload: workload.Workload{ID: "one"}}
	f.until("the second's again", func() bool { return f.last["two"].ID != "" && len(f.last) == 1 })
	second <- workload.Event{Kind: workload.Removed, Workload: workload.Workload{ID: "two"}}
	f.until("nobody", func() bool { return len(f.last) == 0 })
}

func families(ps []netip.Prefix) string {
	s := ""
	for _, p := range ps {
		if p.Addr().Is4() {
			s += "4"
		} else {
			s += "6"
		}
	}
	return s
}
