#!/usr/bin/env bash
# Fuzzes with each target of the tree for some seconds, on all processors. A target that fails prints its
# input, and go leaves it in testdata/fuzz beside the test.
#   deploy/fuzz.sh [SECONDS [FOLDER...]]   2 seconds for all targets below all folders
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
seconds=${1:-2}
shift || true
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# package builds the tests of a folder once and fuzzes with each target of it. Inputs that reach new code are hardly
# minimized: by default go spends the whole of a short run on the first of them, up to a minute each.
package() {
	local binary log target try
	binary=$dir/$(tr / _ <<<"$1").test
	(cd "$1" && go test -c -fuzz . -o "$binary" .) || return 1
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$1"/*_test.go | cut -c6-); do
		log=$binary.$target.log
		for try in 1 2; do
			(cd "$1" && "$binary" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "${seconds}s" \
				-test.fuzzminimizetime 10x -test.fuzzcachedir "$dir/cache" -test.parallel 1) >"$log" 2>&1 && continue 2
			# On a busy machine the end of the time reaches a worker as an error (go.dev/issue/75804).
			grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log" || break
		done
		echo "$1: $target failed:"
		cat "$log"
		touch "$dir/failed"
	done
}
export -f package
export dir seconds

git grep -lE '^func Fuzz' -- "${@:-.}" | grep '_test\.go$' | xargs -n1 dirname | sort -u >"$dir/folders"
[ -s "$dir/folders" ] || { echo "no fuzz targets below ${*:-.}" >&2; exit 1; }
xargs -a "$dir/folders" -P "$(nproc)" -I{} bash -euo pipefail -c 'package {}'
[ ! -e "$dir/failed" ]
