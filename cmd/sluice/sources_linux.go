package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/sluicenet/sluice/agent/workload"
)

// dockerAuto selects the daemon that the docker command would use.
const dockerAuto = "auto"

// dockerEndpoint is the address of a flag; "" is the default.
func dockerEndpoint(flag string) string {
	if flag == dockerAuto {
		return os.Getenv("DOCKER_HOST")
	}
	return flag
}

// source is where the workloads come from that the flags ask for. Of a namespace that is a container's
// and has a name as well, the container counts.
func (f *standaloneFlags) source(log *slog.Logger) (workload.Source, error) {
	var all []workload.Source
	for _, endpoint := range f.docker {
		d, err := workload.NewDocker(workload.DockerConfig{Endpoint: dockerEndpoint(endpoint), Node: f.node, Logger: log})
		if err != nil {
			return nil, fmt.Errorf("--docker: %w", err)
		}
		all = append(all, d)
	}
	n, err := workload.NewNetNS(workload.NetNSConfig{Patterns: f.netns, File: f.workloads, Node: f.node, Logger: log})
	if err != nil {
		return nil, err
	}
	all = append(all, n)
	if f.hostNetwork {
		all = append(all, &workload.Host{Node: f.node})
	}
	return workload.Merge(all...), nil
}
