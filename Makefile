# Sluice: every task of a developer or a visitor. `make` alone lists them.
SHELL := /bin/bash
export PATH := $(PATH):/usr/local/go/bin
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help build demo demo-cluster test field check format bench gen lint lint-all race fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/sluice (needs Go only; BPF objects are committed)
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sluice ./cmd/sluice

# The demos and their servers are a program of their own, which runs bin/sluice.
bin/sluice-demo: build
	CGO_ENABLED=0 go build -trimpath -o bin/sluice-demo ./cmd/sluice-demo

demo: ## install what is missing, build, and watch Sluice learn and protect a lab (root)
	@deploy/setup.sh demo
	@$(MAKE) --no-print-directory bin/sluice-demo
	@bin/sluice-demo

demo-cluster: ## the same over 3 Consul servers, 2 controllers and 2 nodes, some of which are killed (root)
	@deploy/setup.sh demo
	@$(MAKE) --no-print-directory bin/sluice-demo
	@bin/sluice-demo cluster --consul "$$(deploy/consul.sh)"

test: ## install what is missing and run every check and test, root tests included (root)
	@deploy/setup.sh test
	@deploy/setup.sh gen
	@deploy/test.sh

FOR ?= 10m
field: ## run the tests of docs/cases.md that need namespaces, and random walks for FOR=10m (root; nightly: FOR=1h)
	@deploy/setup.sh test
	@deploy/field.sh $(FOR) $(SEED)

check: format ## what must hold before a commit: format, vet, shape of the tree, go.mod, generated files
	go vet ./...
	go test ./internal/archtest
	go mod tidy -diff
	deploy/generated.sh

format:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }

race: ## tests under the race detector
	deploy/race.sh

fuzz: ## fuzz with each target for ten seconds
	deploy/fuzz.sh 10

bench: ## measure plain veth, tap, inline and queues side by side, in five minutes; writes bench.json (root)
	@deploy/setup.sh demo
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -o bin/bench ./test/bench
	bin/bench -out bench.json

gen: ## generate again what is committed: protobuf code, BPF objects
	@deploy/setup.sh gen
	go generate ./...

lint: ## the linters of make test: staticcheck, errcheck, dead functions
	deploy/lint.sh
	deploy/deadcode.sh

lint-all: ## golangci-lint with .golangci.yml, which builds for minutes the first time
	go run $(GOLANGCI) run ./...

clean: ## remove what was built
	rm -rf bin bench.json
