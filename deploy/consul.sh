#!/usr/bin/env bash
# Prints the path of a Consul server for tests and the cluster demo, and builds it first where this
# machine has none yet (some minutes). Two at the same time build once. SLUICE_CONSUL names another.
#   deploy/consul.sh          wait for it
#   deploy/consul.sh --path   only print where it is or will be
set -euo pipefail
cd "$(dirname "$0")/../tools/consul"
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
if [ -n "${SLUICE_CONSUL:-}" ]; then
	echo "$SLUICE_CONSUL"
	exit
fi
version=$(sed -n 's|^[[:space:]]*github.com/hashicorp/consul v\([0-9.]*\).*|\1|p' go.mod)
# Beside the Go build cache: what keeps one between runs keeps the other.
dir=$(dirname "$(go env GOCACHE)")/sluice-consul
binary=$dir/consul-$version
if [ "${1:-}" != --path ] && [ ! -x "$binary" ]; then
	mkdir -p "$dir"
	exec 9>"$dir/lock"
	flock 9
	if [ ! -x "$binary" ]; then
		echo "consul: building the server $version once, for tests (5 to 8 minutes)" >&2
		nice -n 10 go build -trimpath -ldflags='-s -w' -o "$binary.new" github.com/hashicorp/consul
		mv "$binary.new" "$binary"
	fi
fi
echo "$binary"
