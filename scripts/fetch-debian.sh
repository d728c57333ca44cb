#!/usr/bin/env bash
# Puts a verified program of a newer Debian at bin/.
#
#   scripts/fetch-debian.sh restic|rest-server [--force]
#
# Debian 12's own restic is too old, so this takes the package of a newer Debian
# suite, without installing it and without touching the machine's package
# sources: a private sources list, private lists and a private cache under
# build/, then "apt-get download" and "dpkg-deb -x". The mirror is whichever one
# the machine itself is configured for. What is trusted:
#
#   1. apt checks the archive's signature with Debian's archive keyring;
#   2. a package version recorded in scripts/debian.lock must have the recorded
#      SHA-256; a version not recorded there is accepted on the signature alone,
#      and that is said. When the mirror's signed index has passed its date (a
#      mirror that lags, a clock that is wrong), only a recorded package will do;
#   3. the program must run and report at least the minimum version.
#
# Needs no root. When no mirror can be reached, a program already on the machine
# is copied, and that is said, but only if it is new enough. Never an older one.
set -euo pipefail

readonly program=${1:-}
case $program in
restic)
	# The oldest restic saoluu works with; restic/version.go checks the same number.
	minimum=0.18.0 preferred=0.19.1 package=restic word=version
	;;
rest-server)
	minimum=0.13.0 preferred=0.14.0 package=restic-rest-server word=--version
	;;
*)
	echo "usage: fetch-debian.sh restic|rest-server [--force]" >&2
	exit 2
	;;
esac
readonly minimum preferred package word
readonly suites=(forky trixie)
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg

cd "$(dirname "$0")/.."
readonly out=bin/$program
readonly lock=scripts/debian.lock

say() { printf '%s: %s\n' "$program" "$*" >&2; }
die() {
	printf '%s: error: %s\n' "$program" "$1" >&2
	shift
	for hint in "$@"; do printf '%s: hint: %s\n' "$program" "$hint" >&2; done
	exit 1
}

# version_of prints the version a program reports, or nothing.
version_of() {
	"$1" "$word" 2>/dev/null | sed -n 's/^\(restic-\)\{0,1\}'"$program"' \(version [a-z-]* \)\{0,1\}\([0-9][0-9.]*\).*/\3/p' | head -n 1 || true
}

# at_least A B is true when version A is B or newer.
at_least() {
	[ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# place FILE ORIGIN checks a program and moves it to bin/restic in one step, so
# that a parallel build never sees half a file.
place() {
	local file=$1 origin=$2 version
	version=$(version_of "$file")
	at_least "$version" "$minimum" || return 1
	mkdir -p "$(dirname "$out")"
	install -m 0755 "$file" "$out.new.$$"
	mv -f "$out.new.$$" "$out"
	say "$version from $origin"
	at_least "$version" "$preferred" || say "works, but $preferred or newer is preferred"
	say "sha256 $(sha256sum "$out" | cut -d ' ' -f 1)  $out"
}

if [ "${2:-}" != --force ] && [ -x "$out" ]; then
	have=$(version_of "$out")
	if at_least "$have" "$minimum"; then
		say "$have is in place, sha256 $(sha256sum "$out" | cut -d ' ' -f 1)"
		exit 0
	fi
	say "$out reports version \"$have\", older than $minimum; fetching a newer one"
fi

mkdir -p build
work=$(mktemp -d "$PWD/build/$program.XXXXXX")
trap 'rm -rf "$work"' EXIT

# mirrors prints the archive addresses of the machine's own apt configuration,
# the main Debian archive first when apt already knows which one that is.
mirrors() {
	{
		apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian'
		apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages'
	} 2>/dev/null | awk 'NF && !seen[$0]++'
}

# private_apt runs apt-get with nothing but our own sources, lists and cache.
private_apt() {
	apt-get -q -c "$work/apt.conf" "$@"
}

# prepare writes the private configuration for one mirror and suite. With "dated"
# the signed index must be current, as apt wants it; with "any-date" need not be.
prepare() {
	local uri=$1 suite=$2 check=true
	[ "$3" = dated ] || check=false
	rm -rf "$work/lists" "$work/cache"
	mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/empty"
	printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite" >"$work/sources.list"
	# Hooks of the machine (caches to rebuild, archives to delete) are not ours to fire.
	# The sandbox user could not enter a private build folder.
	cat >"$work/apt.conf" <<-CONF
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear APT::Update::Pre-Invoke;
		Dir::Etc::sourcelist "$work/sources.list";
		Dir::Etc::sourceparts "$work/empty";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "$work/empty";
		Dir::State::lists "$work/lists";
		Dir::Cache "$work/cache";
		APT::Sandbox::User "root";
		APT::Get::AllowUnauthenticated "false";
		Acquire::AllowInsecureRepositories "false";
		Acquire::AllowDowngradeToInsecureRepositories "false";
		APT::Default-Release "";
		Acquire::Check-Valid-Until "$check";
		Acquire::Check-Date "$check";
		Acquire::Languages "none";
		Acquire::Retries "2";
	CONF
}

# recorded prints the SHA-256 that restic.lock holds for a package, or nothing.
recorded() {
	awk -v package="$package" -v arch="$1" -v version="$2" '$1 == package && $2 == arch && $3 == version { print $4 }' "$lock"
}

# from_debian tries one mirror and suite.
from_debian() {
	local uri=$1 suite=$2 dates=dated deb arch version sum want
	prepare "$uri" "$suite" "$dates"
	if ! private_apt update >"$work/log" 2>&1; then
		grep -qE 'is expired|is not valid yet' "$work/log" || return 1
		dates=any-date
		prepare "$uri" "$suite" "$dates"
		private_apt update >"$work/log" 2>&1 || return 1
		say "the mirror's index of Debian $suite is signed but out of date; taking only a package recorded in $lock"
	fi
	(cd "$work" && rm -f ./*.deb && private_apt download "$package") >>"$work/log" 2>&1 || return 1
	deb=$(find "$work" -maxdepth 1 -name "${package}_*.deb" | head -n 1)
	[ -n "$deb" ] || return 1
	arch=$(dpkg-deb -f "$deb" Architecture)
	version=$(dpkg-deb -f "$deb" Version)
	sum=$(sha256sum "$deb" | cut -d ' ' -f 1)
	want=$(recorded "$arch" "$version")
	if [ -n "$want" ] && [ "$want" != "$sum" ]; then
		die "package $package $version ($arch) has SHA-256 $sum, $lock records $want" \
			"do not use this package; compare with another mirror and report it"
	fi
	if [ -z "$want" ] && [ "$dates" != dated ]; then
		say "package $version ($arch) is not recorded, not used"
		return 1
	fi
	rm -rf "$work/root"
	dpkg-deb -x "$deb" "$work/root"
	place "$work/root/usr/bin/$package" "Debian $suite, package $version, signature checked" || {
		say "Debian $suite has $program $version, which is too old or does not run here"
		return 1
	}
	if [ -n "$want" ]; then
		say "package SHA-256 is the one recorded in $lock"
	else
		say "package $version is not recorded in $lock; accepted on the archive's signature"
	fi
}

if command -v apt-get >/dev/null && [ -r "$keyring" ]; then
	for suite in "${suites[@]}"; do
		why=
		while read -r uri; do
			if from_debian "$uri" "$suite"; then exit 0; fi
			# What the first mirror said; the others are mostly not the main archive.
			[ -n "$why" ] || why=$(grep '^[EW]: ' "$work/log" | head -n 2 || true)
		done < <(mirrors)
		say "no usable $program from Debian $suite"
		[ -n "$why" ] && printf '%s\n' "$why" | sed "s/^[EW]: /$program: apt: /" >&2
	done
else
	say "no apt-get or no $keyring here; cannot fetch"
fi

for candidate in "/usr/lib/saoluu/$program" "$(command -v "$program" || true)"; do
	[ -n "$candidate" ] && [ -x "$candidate" ] || continue
	if place "$candidate" "this machine's own $candidate, because none could be fetched"; then exit 0; fi
	say "$candidate reports version \"$(version_of "$candidate")\", older than $minimum; not used"
done

die "no $program $minimum or newer could be fetched or found" \
	"check that the machine's apt mirror is reachable, or put $program $preferred at /usr/lib/saoluu/$program and try again"
