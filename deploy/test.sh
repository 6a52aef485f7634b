#!/usr/bin/env bash
# Runs every check and every test and closes with the test runner's summary. Each step prints one line; what it wrote
# is shown if it failed, and the others are run all the same. Steps that only need a processor run beside the tests,
# which mostly wait, at the scheduler's idle priority: they get what nothing else wants. As root a skipped test is a
# failure.
# Arguments are added to `go test` of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
export PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" != 0 ] || export SLUICE_ROOT_TESTS=1
dir=$(mktemp -d)
log=$dir/log.json
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
touch "$dir/failed"

# step NAME COMMAND... runs a step.
step() {
	local name=$1 begin=$SECONDS out
	shift
	out=$(mktemp -p "$dir")
	if "$@" </dev/null >"$out" 2>&1; then
		printf 'ok      %4d s  %s\n' $((SECONDS - begin)) "$name"
	else
		printf 'FAILED  %4d s  %s: %s\n' $((SECONDS - begin)) "$name" "$*"
		cat "$out"
		echo "$name" >>"$dir/failed"
	fi
}

# beside runs, at idle priority, what needs nothing but a processor.
beside() {
	chrt --idle --pid 0 $BASHPID >/dev/null || renice -n 19 -p $BASHPID >/dev/null
	step "vet" go vet ./...
	step "lint" deploy/lint.sh
	step "no dead functions" deploy/deadcode.sh
	step "each benchmark once" deploy/bench.sh
	step "each fuzz target for a second" deploy/fuzz.sh 1
}

# A fresh machine builds the Consul server meanwhile; tests that need it wait for it.
deploy/consul.sh >/dev/null &
step "go.mod and go.sum are tidy" go mod tidy -diff
step "generated files are those of their sources" deploy/generated.sh
step "format" make --no-print-directory format
step "no data races" deploy/race.sh
beside >"$dir/beside" &
aside=$!

# On a shared machine a root test can starve: up to three that failed are run once more, alone, and
# the summary shows it.
go tool gotestsum --format pkgname --jsonfile "$log" --rerun-fails=1 --rerun-fails-max-failures=3 --packages ./... -- -count=1 -timeout 30m "$@" |
	tee "$dir/tests" || echo tests >>"$dir/failed"
if [ "$(id -u)" = 0 ] && skipped=$(grep -c '"Action":"skip","Package":"[^"]*","Test"' "$log"); then
	echo "$skipped tests were skipped although root runs them:" >&2
	grep -o '"Action":"skip","Package":"[^"]*","Test":"[^"]*"' "$log" >&2
	echo "skipped tests" >>"$dir/failed"
fi
wait $aside || echo "steps beside the tests" >>"$dir/failed"
cat "$dir/beside"
grep '^DONE' "$dir/tests" || true
if [ -s "$dir/failed" ]; then
	sed 's/^/failed: /' "$dir/failed" >&2
	exit 1
fi
