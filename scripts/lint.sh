#!/usr/bin/env bash
# Linters: staticcheck at a pinned version, which "make test" runs too, and
# golangci-lint when it is installed. The rules that matter most do not wait for
# that one; internal/rules holds them in every test run.
#
#   scripts/lint.sh [--staticcheck]
set -euo pipefail
cd "$(dirname "$0")/.."

# Its own module's requirements decide what it is built from; the version is pinned here.
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
[ "${1:-}" != --staticcheck ] || exit 0

if command -v golangci-lint >/dev/null; then
	golangci-lint run
else
	echo "golangci-lint is not installed, left out" >&2
fi
