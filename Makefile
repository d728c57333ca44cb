# saoluu: build, test, show. "make" alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The version is the nearest tag, or the commit while there is none. Outside a
# git work tree (a source archive) give VERSION=… on the command line.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOFLAGS_BUILD := -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

# Our restic goes first on PATH so that tests and demo never meet an older one.
export PATH := $(CURDIR)/bin:$(PATH)
export SAOLUU_RESTIC := $(CURDIR)/bin/restic

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: restic saoluu ## bin/saoluu and a verified bin/restic

.PHONY: saoluu
saoluu: ## only bin/saoluu (static, no cgo)
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o bin/saoluu ./cmd/saoluu

.PHONY: restic
restic: ## only bin/restic, from a newer Debian suite, signature checked
	@scripts/fetch-debian.sh restic

.PHONY: tools
tools: bin/minio bin/toxiproxy-server ## the storage servers of the tests: MinIO, rest-server, toxiproxy
	@scripts/fetch-debian.sh rest-server

# Built from pinned modules of their own: test servers are neither linked nor shipped.
bin/minio: tools/go.mod tools/go.sum
	cd tools && go build -trimpath -ldflags '-s -w' -o ../bin/minio github.com/minio/minio
bin/toxiproxy-server: tools/go.mod tools/go.sum
	cd tools && go build -trimpath -ldflags '-s -w' -o ../bin/toxiproxy-server github.com/Shopify/toxiproxy/v2/cmd/server

.PHONY: deps
deps: ## what the tests need, by apt, when missing (root or sudo)
	@scripts/install-deps.sh

.PHONY: test
test: deps build tools ## everything: vet, format, staticcheck, layers, unit and real-server tests
	@scripts/test.sh

.PHONY: lint
lint: ## staticcheck, and golangci-lint when it is installed
	@scripts/lint.sh

.PHONY: fmt
fmt: ## gofmt over the tree
	gofmt -w $$(git ls-files '*.go')

.PHONY: demo
demo: build ## a throwaway site under ./demo: back up, test, damage, report
	@scripts/demo.sh

.PHONY: bench
bench: build ## measurements beside a bare restic, as ratios
	go run ./e2e/bench

.PHONY: clean
clean: ## remove bin/, build/ and demo/
	rm -rf bin build demo
