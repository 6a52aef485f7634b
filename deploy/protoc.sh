#!/usr/bin/env bash
# Generates the Go code of one .proto file beside it: deploy/protoc.sh api/control/v1/control.proto
# The plugins are those of go.mod's tools.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
module=github.com/sluicenet/sluice
protoc -I . --plugin=protoc-gen-go="$(go tool -n protoc-gen-go)" --plugin=protoc-gen-go-grpc="$(go tool -n protoc-gen-go-grpc)" \
	--go_out=. --go_opt=module=$module --go-grpc_out=. --go-grpc_opt=module=$module "$1"
