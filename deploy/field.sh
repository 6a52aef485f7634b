#!/usr/bin/env bash
# The standing search: runs the tests of docs/cases.md that need namespaces, and then random walks with real traffic that
# are compared with a model (test/field). Needs root.
#   deploy/field.sh [DURATION [SEED]]   10m of walks, from a seed of the clock
# $SLUICE_BINARY may name another program to walk with; then the tests of the cases are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
export PATH=$PATH:/usr/sbin:/sbin SLUICE_ROOT_TESTS=1
duration=${1:-10m}
seed=${2:-$(date +%s)}
failed=0

# cases prints PACKAGE TEST for each test of docs/cases.md that is in a package with namespaces.
cases() {
	local name file
	# shellcheck disable=SC2016 # the names are between back-quotes
	grep -o '`Test[A-Za-z0-9]*' docs/cases.md | tr -d '`' | sort -u | while read -r name; do
		grep -rlE --include='*_test.go' "^func $name\(" test backends agent cmd internal/netns | while read -r file; do
			echo "./$(dirname "$file") $name"
		done || true
	done | sort -u
}

if [ -z "${SLUICE_BINARY:-}" ]; then
	list=$(cases)
	for package in $(cut -d' ' -f1 <<<"$list" | uniq); do
		names=$(grep "^$package " <<<"$list" | cut -d' ' -f2 | paste -sd'|')
		go test "$package" -count=1 -timeout 30m -run "^($names)\$" || failed=1
	done
fi
echo "walks for $duration from seed $seed"
go test ./test/field -count=1 -timeout 0 -run '^TestWalk$' -v -args -field.for "$duration" -field.seed "$seed" || failed=1
exit $failed
