#!/usr/bin/env bash
# Runs every check and test; "make test" calls it after deps and build.
#
#   scripts/test.sh [PACKAGE...]
#
# With packages it tests only those, without staticcheck, and demands no list of
# tests. The last line is always "N passed, N failed, N skipped". Nothing is taken
# from Go's test cache: the servers and programs under test are not among what
# that cache watches.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PWD/bin:$PATH"
export SAOLUU_RESTIC="$PWD/bin/restic"
# A missing tool is a failure here, not a reason to skip.
export SAOLUU_MUST_RUN=1
# Results must not depend on where and in which language the machine stands.
export LC_ALL=C.UTF-8
unset RESTIC_REPOSITORY RESTIC_PASSWORD RESTIC_PASSWORD_FILE RESTIC_CACHE_DIR SAOLUU_CONFIG TZ

step() { printf '== %s\n' "$*"; }

# Checks that fail are counted, so that one run shows everything.
failed=0

step "gofmt"
unformatted=$(find . \( -name '.?*' -o -name build -o -name demo -o -name bin -o -name testdata \) -prune -o \
	-name '*.go' -type f -print0 | xargs -0r gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted, run "make fmt":\n%s\n' "$unformatted"
	failed=$((failed + 1))
fi

step "go vet"
go vet ./... || failed=$((failed + 1))

if [ $# -eq 0 ]; then
	step "staticcheck"
	scripts/lint.sh --staticcheck || failed=$((failed + 1))
fi

step "shell syntax"
for script in scripts/*.sh .ci/run; do
	bash -n "$script" || failed=$((failed + 1))
done

mkdir -p build
go build -o build/testsum ./scripts/testsum

required=(-must .ci/must-run.txt)
packages=("$@")
if [ ${#packages[@]} -gt 0 ]; then
	required=()
else
	packages=(./...)
fi

# Two packages at a time: each starts servers of its own, and the time limits of
# those must not depend on how many processors the machine has.
run() { go test -json -count=1 -timeout 20m -p 2 "$@"; }

# run_all runs the scripts of the commands last and alone: they take longest, and
# mostly wait, so more of them run at once.
run_all() {
	local status=0 others
	mapfile -t others < <(go list ./... | grep -v '/cmd/saoluu$')
	run "${others[@]}" || status=$?
	run -parallel 6 ./cmd/saoluu || status=$?
	return $status
}

step "go test ${packages[*]}"
set +e
if [ $# -eq 0 ]; then run_all; else run "${packages[@]}"; fi | build/testsum -checks "$failed" "${required[@]}"
result=("${PIPESTATUS[@]}")
set -e
if [ "${result[1]}" != 0 ]; then exit "${result[1]}"; fi
# go test can end badly without a failed test, when it cannot even list packages.
exit "${result[0]}"
