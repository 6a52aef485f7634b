package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
)

// dockerAPI is a client of the part of the Docker Engine API that the Source needs
// (https://docs.docker.com/reference/api/engine/); the fields have been the same since 1.24.
type dockerAPI struct {
	client *http.Client
	daemon atomic.Int32 // process of the daemon, 0 before the first connection
}

// errNoContainer means that the daemon does not know a container (any more).
var errNoContainer = errors.New("no such container")

// unreachable returns a sentence on why a daemon does not answer and what to do about it.
func unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such socket: is the daemon installed, and the path right?")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("no process listens on the socket: is the daemon running?")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("the socket may not be opened: run this as root, or as a member of the socket's group")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the daemon ended the connection")
	}
	return err
}

func newDockerAPI(socket string) *dockerAPI {
	a := &dockerAPI{}
	a.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if u, ok := c.(*net.UnixConn); ok && err == nil {
				a.daemon.Store(peerProcess(u))
			}
			return c, err
		},
		MaxIdleConnsPerHost: dockerAsks,
	}}
	return a
}

// maxAnswer bounds one answer of the daemon.
const maxAnswer = 64 << 20

// open sends a request and returns the body of a successful response, which the caller closes.
func (a *dockerAPI) open(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "docker", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return nil, errNoContainer
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 512))
	return nil, fmt.Errorf("daemon answers %s: %s", res.Status, strings.TrimSpace(string(text)))
}

func (a *dockerAPI) get(ctx context.Context, path string, q url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, dockerAnswer)
	defer cancel()
	body, err := a.open(ctx, path, q)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(out)
}

// PingDocker returns the version of a daemon and its address, in words.
func PingDocker(ctx context.Context, endpoint string) (string, error) {
	d, err := NewDocker(DockerConfig{Endpoint: endpoint})
	if err != nil {
		return "", err
	}
	defer d.api.client.CloseIdleConnections()
	var v struct{ Version string }
	if err := d.api.get(ctx, "/version", nil, &v); err != nil {
		return "", fmt.Errorf("%s: %w", d.cfg.Endpoint, unreachable(err))
	}
	return fmt.Sprintf("%.64s at %s", v.Version, d.cfg.Endpoint), nil
}

// list returns every container, running or not, without its process.
func (a *dockerAPI) list(ctx context.Context) (all []dockerContainer, running []string, err error) {
	var answer []struct {
		ID         string `json:"Id"`
		Names      []string
		Image      string
		Labels     map[string]string
		State      string
		HostConfig struct{ NetworkMode string }
	}
	if err := a.get(ctx, "/containers/json", url.Values{"all": {"1"}}, &answer); err != nil {
		return nil, nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range answer {
		x := dockerContainer{id: c.ID, image: c.Image, labels: c.Labels, network: c.HostConfig.NetworkMode}
		for _, n := range c.Names {
			// A linked container has further names with two slashes.
			if n = strings.TrimPrefix(n, "/"); x.name == "" || !strings.Contains(n, "/") {
				x.name = n
			}
		}
		all = append(all, x)
		if c.State == "running" || c.State == "paused" {
			running = append(running, c.ID)
		}
	}
	return all, running, nil
}

// inspect returns the details of one container. The daemon answers only after a start in progress is
// complete.
func (a *dockerAPI) inspect(ctx context.Context, id string) (dockerContainer, error) {
	var c struct {
		ID     string `json:"Id"`
		Name   string
		State  struct{ Pid int }
		Config struct {
			Image  string
			Labels map[string]string
		}
		HostConfig struct{ NetworkMode, CgroupParent string }
	}
	if err := a.get(ctx, "/containers/"+url.PathEscape(id)+"/json", nil, &c); err != nil {
		return dockerContainer{}, fmt.Errorf("inspect container: %w", err)
	}
	return dockerContainer{id: c.ID, name: strings.TrimPrefix(c.Name, "/"), image: c.Config.Image, labels: c.Config.Labels,
		network: c.HostConfig.NetworkMode, parent: c.HostConfig.CgroupParent, pid: c.State.Pid}, nil
}

// dockerEvent is one event of the daemon.
type dockerEvent struct {
	Type, Action string
	Actor        struct {
		ID         string
		Attributes map[string]string
	}
}

const dockerFilters = `{"type":["container","network"],"event":["create","start","die","destroy","rename","pause","unpause","connect","disconnect"]}`

// events calls opened when the stream of events begins, and then fn for each event, until it ends.
func (a *dockerAPI) events(ctx context.Context, opened func() error, fn func(*dockerEvent)) error {
	body, err := a.open(ctx, "/events", url.Values{"filters": {dockerFilters}})
	if err != nil {
		return err
	}
	defer body.Close()
	if err := opened(); err != nil {
		return err
	}
	dec := json.NewDecoder(body)
	for {
		var e dockerEvent
		if err := dec.Decode(&e); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		fn(&e)
	}
}
