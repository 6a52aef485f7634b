#!/usr/bin/env bash
# The linters of every run of CI: staticcheck (with unused code) and errcheck, both tools of go.mod. golangci-lint
# (make lint-all) has more, and takes longer to build than everything here takes to run.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
bad=0
go tool staticcheck "${@:-./...}" || bad=1
# Close, Flush and Remove of what is thrown away, and writes to the terminal: their errors have no consequence.
ignored='\.(Close|Flush|Remove)\(|<-|fmt\.Fprint(f|ln)?\('
status=0
unchecked=$(go tool errcheck -ignoretests -ignoregenerated "${@:-./...}") || status=$?
if [ $status -gt 1 ]; then
	echo "errcheck ended with status $status" >&2
	exit 1
fi
if unchecked=$(grep -vE "$ignored" <<<"$unchecked" | grep .); then
	printf 'errors not checked:\n%s\n' "$unchecked" >&2
	bad=1
fi
exit $bad
