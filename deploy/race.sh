#!/usr/bin/env bash
# Runs tests under the race detector: all packages but those named here, each with its reason. Tests of zero allocations
# run in it too: the detector does not change what escapes.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
without=(
	# Namespaces, packet sockets, queues, servers, or bounds of time that the detector's slowness breaks. Those of
	# plugins/host are longer under it.
	agent agent/hostmode agent/wire agent/workload 'backends/(afpacket|nfqueue|backendtest)' 'internal/stage/.*' internal/netns
	store/consul 'test(/.*)?'
	# One goroutine, and under the detector as long as everything else together.
	internal/archtest store/blob
	# One goroutine and no state: parsers/builtin below runs all of them, beside each other.
	'parsers/.*'
)
module=$(go list -m)
pattern=$(IFS='|' && echo "^$module/(${without[*]})\$")
# TestKilled kills processes by the clock; TestLeakEnds bounds a process's memory, of which the detector needs more.
{
	go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | grep -vE "$pattern"
	echo ./parsers/builtin
} | xargs go test -race -count=1 -timeout 10m -skip '^(TestKilled|TestLeakEnds)$'
