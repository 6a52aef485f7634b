#!/usr/bin/env bash
# Lists functions that no program of the project reaches, tests not counted, and fails if there is one that
# deploy/deadcode.txt does not name with a reason.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
# One line each: "core/app/app.go: Parse".
dead=$(go tool deadcode ./... | sed -E 's/^([^:]+):[0-9]+:[0-9]+: unreachable func: /\1: /')
allowed=$(sed -E 's/[[:space:]]*#.*//; /^$/d' deploy/deadcode.txt)
left=""
while read -r line; do
	while read -r prefix; do
		case $line in "$prefix"*) continue 2 ;; esac
	done <<<"$allowed"
	left+="$line"$'\n'
done <<<"$dead"
while read -r prefix; do
	grep -qF -- "$prefix" <<<"$dead" || echo "deploy/deadcode.txt: $prefix is not dead (any more): remove the line"
done <<<"$allowed"
if [ -n "${left//[[:space:]]/}" ]; then
	printf 'no program reaches these functions: remove them, or name them in deploy/deadcode.txt with a reason:\n%s' "$left" >&2
	exit 1
fi
