package workload

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestDockerGroups is what groups come out of names and of the labels that tools set.
func TestDockerGroups(t *testing.T) {
	compose := func(service, number string) map[string]string {
		return map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": service, "com.docker.compose.container-number": number}
	}
	tests := []struct {
		name, container string
		labels          map[string]string
		group, shown    string
	}{
		{"a name alone", "web", nil, "svc:default/web", "web"},
		{"odd characters", "odd_.-name.X", nil, "svc:default/odd_.-name.X", "odd_.-name.X"},
		{"Compose", "shop-web-1", compose("web", "1"), "svc:shop/web", "shop-web-1"},
		{"Compose, scaled", "shop-web-2", compose("web", "2"), "svc:shop/web", "shop-web-2"},
		{"Podman's Compose", "shop_web_1", map[string]string{"io.podman.compose.project": "shop", "io.podman.compose.service": "web"}, "svc:shop/web", "shop_web_1"},
		{"a Swarm service", "web.1.x2kd", map[string]string{"com.docker.swarm.service.name": "web"}, "svc:default/web", "web.1.x2kd"},
		{"a stack's service", "shop_web.2.x2kd", map[string]string{"com.docker.stack.namespace": "shop", "com.docker.swarm.service.name": "shop_web"}, "svc:shop/web", "shop_web.2.x2kd"},
		{"a pod", "k8s_POD_web-7d-x_prod_1", map[string]string{"io.kubernetes.pod.name": "web-7d-x", "io.kubernetes.pod.namespace": "prod", "app": "web"}, "svc:prod/web", "web-7d-x"},
		{"a pod by recommended labels", "k8s_POD_x", map[string]string{"io.kubernetes.pod.name": "x", "io.kubernetes.pod.namespace": "prod", "app.kubernetes.io/name": "shop", "app": "no"}, "svc:prod/shop", "x"},
		{"a pod without labels", "k8s_POD_x", map[string]string{"io.kubernetes.pod.name": "x", "io.kubernetes.pod.namespace": "prod"}, "svc:prod/x", "x"},
		{"the user's label comes first", "shop-web-1", map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web",
			"sluice.net/service": "front", "sluice.net/namespace": "live"}, "svc:live/front", "shop-web-1"},
		{"hostile labels", "web", map[string]string{"com.docker.compose.project": "../\x1b[31m", "com.docker.compose.service": "a/b c\n"}, "svc:31m/a-b-c-", "web"},
		{"nothing but hostile", "web", map[string]string{"com.docker.compose.service": "///"}, "svc:default/web", "web"},
		{"long", strings.Repeat("x", 200), nil, "svc:default/" + strings.Repeat("x", 63), strings.Repeat("x", 63)},
		{"not named yet", "", nil, "svc:default/container", "container"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dockerContainer{id: someID, name: tt.container, labels: tt.labels}
			w := c.workload("n")
			if w.Group() != tt.group || w.Name != tt.shown {
				t.Errorf("got %s in %s, want %s in %s", w.Name, w.Group(), tt.shown, tt.group)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	wrapped := func(err error) error {
		return &url.Error{Op: "Get", URL: "http://docker/events", Err: fmt.Errorf("dial unix: %w", err)}
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{wrapped(os.ErrNotExist), "no such socket"}, {wrapped(syscall.ECONNREFUSED), "no process listens"}, {wrapped(syscall.EACCES), "may not be opened"},
		{fmt.Errorf("read events: %w", io.ErrUnexpectedEOF), "ended the connection"}, {errors.New("daemon answers 500"), "daemon answers 500"},
	} {
		if got := unreachable(tt.err).Error(); !strings.Contains(got, tt.want) || strings.Contains(got, "http://") {
			t.Errorf("%v: got %q", tt.err, got)
		}
	}
}
