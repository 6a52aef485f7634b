#!/usr/bin/env bash
# Generates protobuf code and BPF objects again and compares them with what is committed. The result depends on the
# compilers' versions: with others than those named here nothing is compared, which on CI is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
wanted="Debian clang version 14.0.6, libprotoc 3.21.12"
found="$(clang --version 2>/dev/null | head -1 || true), $(protoc --version 2>/dev/null || true)"
if [ "$found" != "$wanted" ]; then
	echo "generated files are not compared: they were made by $wanted; this machine has $found" >&2
	[ "${CI:-}" != true ]
	exit
fi
files() { git ls-files -- 'api/*.pb.go' '*_bpfel.go' '*_bpfel.o'; }
before=$(files | xargs sha256sum)
go generate ./...
new=$(git ls-files --others --exclude-standard -- 'api/*.pb.go' '*_bpfel.go' '*_bpfel.o')
if ! diff <(echo "$before") <(files | xargs sha256sum) >&2 || [ -n "$new" ]; then
	echo "generated files differ from what their sources give: commit what is there now $new" >&2
	exit 1
fi
