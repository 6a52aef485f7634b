#!/usr/bin/env bash
# Runs every test and closes with the runner's summary. As root a skipped test is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
export PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" != 0 ] || export SLUICE_ROOT_TESTS=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A fresh machine builds the Consul server meanwhile; tests that need it wait for it.
deploy/consul.sh >/dev/null &
make --no-print-directory check
# On a shared machine a root test can starve: up to three that failed are run once more, alone, and
# the summary tells it.
go tool gotestsum --format pkgname --jsonfile "$log" --rerun-fails=1 --rerun-fails-max-failures=3 --packages ./... -- -count=1 -timeout 15m "$@"
if [ "$(id -u)" = 0 ] && skipped=$(grep -c '"Action":"skip","Package":"[^"]*","Test"' "$log"); then
	echo "$skipped tests were skipped although root runs them:" >&2
	grep -o '"Action":"skip","Package":"[^"]*","Test":"[^"]*"' "$log" >&2
	exit 1
fi
