#!/usr/bin/env bash
# Runs every check and test; "make test" calls it after deps and build.
#
#   scripts/test.sh [PACKAGE...]
#
# With packages it tests only those and demands no list of tests. The last line
# is always "N passed, N failed, N skipped". Nothing is taken from Go's test cache:
# the servers and programs under test are not among what that cache watches.
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

# Checks that fail are remembered, so that one run shows everything.
bad=0

step "gofmt"
unformatted=$(git ls-files -z --cached --others --exclude-standard '*.go' |
	while IFS= read -r -d '' f; do [ -e "$f" ] && printf '%s\0' "$f"; done | xargs -0r gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted, run "make fmt":\n%s\n' "$unformatted"
	bad=1
fi

step "go vet"
go vet ./... || bad=1

step "shell syntax"
for script in scripts/*.sh .ci/run; do
	bash -n "$script" || bad=1
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

step "go test ${packages[*]}"
# Two packages at a time: each starts servers of its own, and the time limits of
# those must not depend on how many processors the machine has.
set +e
go test -json -count=1 -timeout 20m -p 2 "${packages[@]}" | build/testsum "${required[@]}"
result=("${PIPESTATUS[@]}")
set -e
if [ "${result[1]}" != 0 ]; then exit "${result[1]}"; fi
if [ "${result[0]}" != 0 ]; then
	echo "go test ended with ${result[0]} though no test failed" >&2
	exit 1
fi
if [ "$bad" != 0 ]; then
	echo "tests passed; gofmt, go vet or shell syntax did not (see above)" >&2
	exit 1
fi
