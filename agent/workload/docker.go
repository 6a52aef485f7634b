package workload

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// DockerSocket is where Docker's daemon usually listens.
const DockerSocket = "unix:///run/docker.sock"

// DockerConfig configures a Docker source.
type DockerConfig struct {
	// Endpoint is the daemon's address, unix:// and the path of its socket; DockerSocket if empty.
	Endpoint string
	// Node is the node of every workload.
	Node string
	// Logger logs waits and their reasons; none if nil.
	Logger *slog.Logger
}

// Docker is the Source of a Docker daemon's containers. Containers that share a network namespace
// are one workload: that of the container that made it, the others being its members. Containers in
// the host's network are workloads of their own with HostNet set. A container is reported as soon as its
// namespace has an address, which is before its first process runs.
type Docker struct {
	cfg DockerConfig
	api *dockerAPI
}

var _ Source = (*Docker)(nil)

// NewDocker checks the endpoint. The daemon need not run yet.
func NewDocker(cfg DockerConfig) (*Docker, error) {
	if cfg.Endpoint == "" {
		cfg.Endpoint = DockerSocket
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	path, ok := strings.CutPrefix(cfg.Endpoint, "unix://")
	if !ok && strings.HasPrefix(cfg.Endpoint, "/") {
		path, ok = cfg.Endpoint, true
	}
	if !ok || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("docker endpoint %q: give the daemon's socket on this machine, such as %s", cfg.Endpoint, DockerSocket)
	}
	return &Docker{cfg: cfg, api: newDockerAPI(path)}, nil
}

// Watch reports the workloads. It runs in the caller's goroutine; ending the loop or ctx ends it. An
// unavailable daemon is no error: its workloads remain while their namespaces exist.
func (d *Docker) Watch(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		w, err := newDockerWatch(d)
		if err != nil {
			yield(Event{}, fmt.Errorf("watch docker: %w", err))
			return
		}
		defer w.subs.close()
		w.yield = func(e Event) bool { return yield(e, nil) }
		w.run(ctx)
	}
}

// Labels by which users and container tools name the group of a container; the first one present applies.
var (
	namespaceLabels = []string{"sluice.net/namespace", "io.kubernetes.pod.namespace", "com.docker.compose.project", "io.podman.compose.project", stackLabel}
	serviceLabels   = []string{"sluice.net/service", "com.docker.compose.service", "io.podman.compose.service", swarmLabel, "app.kubernetes.io/name", "k8s-app", "app", "io.kubernetes.pod.name"}
	nameLabels      = []string{"io.kubernetes.pod.name"}
)

// A stack's services are named STACK_SERVICE.
const (
	stackLabel = "com.docker.stack.namespace"
	swarmLabel = "com.docker.swarm.service.name"
)

// dockerContainer describes one container.
type dockerContainer struct {
	id, name, image string
	// born is its first seen name: a renamed container stays in its group.
	born   string
	labels map[string]string
	// network is its network mode: "default", "host", "none", "container:ID" or a network's name; "" while unknown.
	network string
	parent  string // cgroup parent, "" for the usual one
	pid     int    // of its first process; 0 while it does not run
}

// shares reports whether the container is in another one's namespace.
func (c *dockerContainer) shares() bool { return strings.HasPrefix(c.network, "container:") }

// maker returns the id, or its given prefix, of the container whose namespace it shares.
func (c *dockerContainer) maker() string { return strings.TrimPrefix(c.network, "container:") }

// host reports whether the container is in the host's network.
func (c *dockerContainer) host() bool { return c.network == "host" }

// describe applies the attributes of an event, which include the container's labels.
func (c *dockerContainer) describe(e *dockerEvent) {
	if e.Type != "container" {
		return
	}
	c.name, c.born, c.image = e.Actor.Attributes["name"], e.Actor.Attributes["name"], e.Actor.Attributes["image"]
	c.labels = maps.Clone(e.Actor.Attributes)
	for _, k := range []string{"name", "image", "oldName", "exitCode", "signal"} {
		delete(c.labels, k)
	}
}

// networkOf returns the network mode that a connection to a network implies.
func networkOf(e *dockerEvent) string {
	switch e.Actor.Attributes["type"] {
	case "host":
		return "host"
	case "null":
		return "none"
	}
	return e.Actor.Attributes["name"]
}

// workload returns the workload of a container, without the data of its namespace.
func (c *dockerContainer) workload(node string) Workload {
	w := Workload{ID: "docker:" + c.id[:min(12, len(c.id))], Name: plain(c.name, "container"), Namespace: "default", Labels: boundedLabels(c.labels), Image: c.image,
		Node: node, Source: "docker", Containers: []string{c.id}, HostNet: c.host()}
	w.Service = w.Name
	if c.born != "" {
		w.Service = plain(c.born, w.Name)
	}
	if _, s := c.label(nameLabels); s != "" {
		w.Name = plain(s, w.Name)
	}
	if _, s := c.label(namespaceLabels); s != "" {
		w.Namespace = plain(s, w.Namespace)
	}
	if by, s := c.label(serviceLabels); s != "" {
		if stack := c.labels[stackLabel]; by == swarmLabel && stack != "" {
			s = strings.TrimPrefix(s, stack+"_")
		}
		w.Service = plain(s, w.Service)
	}
	return w
}

// label returns the first present one of some labels, and its value.
func (c *dockerContainer) label(names []string) (name, value string) {
	for _, n := range names {
		if v := c.labels[n]; v != "" {
			return n, v
		}
	}
	return "", ""
}

// Bounds of a container's labels.
const (
	maxLabels     = 128
	maxLabelBytes = 512
)

// boundedLabels returns the labels within the bounds of number and length.
func boundedLabels(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, min(len(m), maxLabels))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if len(out) < maxLabels && len(k) <= maxLabelBytes && len(m[k]) <= maxLabelBytes {
			out[k] = strings.ToValidUTF8(m[k], "\ufffd")
		}
	}
	return out
}

var unplain = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// plain returns text in a form valid for the name of a group.
func plain(s, otherwise string) string {
	s = strings.TrimLeft(unplain.ReplaceAllString(s, "-"), "._-")
	if s = s[:min(len(s), 63)]; !plainName.MatchString(s) {
		return otherwise
	}
	return s
}

// primary orders containers of one namespace: its maker before those that share it.
func primary(a, b *dockerContainer) int {
	if a.shares() != b.shares() {
		if b.shares() {
			return -1
		}
		return 1
	}
	return strings.Compare(a.id, b.id)
}

const (
	dockerFirstWait = 100 * time.Millisecond
	dockerLastWait  = 5 * time.Second
	dockerAnswer    = 10 * time.Second // for one request
)
