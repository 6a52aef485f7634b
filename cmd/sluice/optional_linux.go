package main

import (
	"context"
	"time"

	"github.com/sluicenet/sluice/agent/hostmode"
	"github.com/sluicenet/sluice/agent/workload"
)

// checkTime bounds requests to other processes.
const checkTime = 3 * time.Second

// hostChecks try what the machine's own processes and containers are found by.
func hostChecks() []check {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	docker, err := workload.PingDocker(ctx, dockerEndpoint(dockerAuto))
	return []check{
		tried("socket tracepoint", hostmode.Probe(), false, "inet_sock_set_state through BTF",
			"of workloads in the host's network, connections that last less than 3 s may be missed (hostmode.missed counts those of TCP)",
			"use a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_EVENTS, 5.8 or newer"),
		tried("Docker", err, false, docker, "there are no containers for --docker auto; nothing else changes",
			"start the daemon, or give its socket with --docker or DOCKER_HOST"),
	}
}
