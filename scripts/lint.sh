#!/usr/bin/env bash
# Linters beyond what "make test" runs: staticcheck at a pinned version, and
# golangci-lint when it is installed. The rules that matter most do not wait for
# them; internal/rules holds those in every test run.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== staticcheck"
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

if command -v golangci-lint >/dev/null; then
	echo "== golangci-lint"
	golangci-lint run
else
	echo "== golangci-lint is not installed, left out"
fi
