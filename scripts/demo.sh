#!/usr/bin/env bash
# A throwaway site under ./demo: real backups of this machine's /etc, of a SQLite
# database and of a PostgreSQL server, a restore test of each, one copy damaged
# on purpose, and the report. Leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly demo=$PWD/demo
readonly saoluu=$PWD/bin/saoluu
export SAOLUU_CONFIG=$demo/saoluu.toml SAOLUU_RESTIC=${SAOLUU_RESTIC:-$PWD/bin/restic}
sockets=""
began=$SECONDS

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
note() { printf '   %s\n' "$*"; }

# as_server runs a PostgreSQL program as an unprivileged user, which it demands.
as_server() {
	if [ "$(id -u)" = 0 ]; then
		(cd / && setpriv --reuid=postgres --regid=postgres --clear-groups "$@")
	else
		"$@"
	fi
}

tidy() {
	if [ -n "$sockets" ]; then
		if [ -f "$sockets/data/postmaster.pid" ]; then
			as_server "$pg/pg_ctl" -D "$sockets/data" -m immediate stop >/dev/null || echo "demo: could not stop the server in $sockets" >&2
		fi
		rm -rf "$sockets"
	fi
}
trap tidy EXIT

# find_postgres sets $pg to the server's programs; installs them when allowed.
find_postgres() {
	pg=$(find /usr/lib/postgresql -maxdepth 3 -name initdb 2>/dev/null | sort -V | tail -n 1 | xargs -r dirname)
	if [ -z "$pg" ] && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
		note "PostgreSQL is missing; installing it"
		scripts/install-deps.sh >/dev/null
		pg=$(find /usr/lib/postgresql -maxdepth 3 -name initdb 2>/dev/null | sort -V | tail -n 1 | xargs -r dirname)
	fi
	[ -n "$pg" ]
}

if [ -e "$demo" ] && [ ! -e "$demo/.saoluu-demo" ]; then
	echo "demo: $demo is there and was not made by this script; move it away" >&2
	exit 1
fi
rm -rf "$demo"
mkdir -p "$demo"
touch "$demo/.saoluu-demo"
chmod 755 "$demo"

step "1. data to protect"
note "this machine's own /etc, as a tree"
exclude=$(find /etc ! -type l ! -readable -prune -printf '"%p", ' 2>/dev/null || true)
[ -z "$exclude" ] || note "left out, because this user cannot read it: ${exclude%, }"
note "a SQLite database with 40,000 rows"
sqlite=${demo}/van-thu.db
go run ./scripts/demodata "$sqlite"
postgres_job="" postgres_jobs=""
if find_postgres; then
	note "a PostgreSQL server with pgbench data (300,000 rows), on a socket"
	sockets=$(mktemp -d /tmp/saoluu-demo.XXXX)
	chmod 777 "$sockets"
	as_server "$pg/initdb" -D "$sockets/data" -U postgres -A trust -N --no-locale -E UTF8 >/dev/null
	as_server "$pg/pg_ctl" -D "$sockets/data" -w -l "$sockets/log" start \
		-o "-c fsync=off -c listen_addresses='' -c unix_socket_directories=$sockets" >/dev/null
	as_server "$pg/createdb" -h "$sockets" -U postgres qlvb
	as_server "$pg/pgbench" -h "$sockets" -U postgres -i -s 3 -q qlvb >/dev/null 2>&1
	postgres_jobs=qlvb
	postgres_job=$(cat <<-TOML

		[jobs.qlvb]
		title      = "CSDL quản lý văn bản"
		system     = "Quản lý văn bản và điều hành"
		category   = "database"
		importance = "high"
		secrecy    = "none"
		label      = "noi-bo"
		owner      = "Văn phòng"
		class      = "nghiep-vu"
		schedule   = "daily at 01:00"
		targets    = ["o-mot", "o-hai"]
		rpo        = "24h"
		rto        = "4h"
		  [jobs.qlvb.source]
		  type     = "postgres"
		  host     = "$sockets"
		  user     = "postgres"
		  database = "qlvb"
		  [jobs.qlvb.restore_test]
		  schedule = "monthly on 5 at 03:00"
		  checks   = [{ name = "tài khoản", sql = "SELECT count(*) FROM pgbench_accounts", min = 300000 }]
	TOML
	)
else
	note "PostgreSQL is not installed and cannot be installed by this user: left out"
fi

cat >"$SAOLUU_CONFIG" <<TOML
[site]
name  = "Cơ quan dùng thử"
code  = "DEMO"
level = 2
zone  = "lan"

[paths]
state = "$demo/state"

[classes.nghiep-vu]
title    = "Dữ liệu nghiệp vụ"
keep     = { daily = 14, monthly = 13 }
keep_min = "1y"
keep_max = "5y"
copies   = 2

[targets.o-mot]
type    = "local"
path    = "$demo/o-mot"
reserve = "10MB"

[targets.o-hai]
type    = "local"
path    = "$demo/o-hai"
reserve = "10MB"

[jobs.cau-hinh]
title      = "Cấu hình máy chủ (/etc)"
system     = "Máy chủ này"
category   = "config"
importance = "normal"
secrecy    = "none"
label      = "noi-bo"
owner      = "Văn phòng"
class      = "nghiep-vu"
schedule   = "daily at 00:30"
targets    = ["o-mot", "o-hai"]
rpo        = "24h"
rto        = "4h"
  [jobs.cau-hinh.source]
  type    = "files"
  paths   = ["/etc"]
  exclude = [${exclude%, }]
  [jobs.cau-hinh.restore_test]
  schedule = "monthly on 5 at 02:00"
  checks   = [{ exists = "/etc/passwd" }, { min_files = 10 }]

[jobs.van-thu]
title      = "Sổ văn thư"
system     = "Văn thư"
category   = "database"
importance = "high"
secrecy    = "none"
label      = "noi-bo"
owner      = "Văn thư"
class      = "nghiep-vu"
schedule   = "daily at 00:45"
targets    = ["o-mot", "o-hai"]
rpo        = "24h"
rto        = "1h"
  [jobs.van-thu.source]
  type = "sqlite"
  path = "$sqlite"
  [jobs.van-thu.restore_test]
  schedule = "monthly on 5 at 02:30"
  checks   = [
    { name = "số văn bản", sql = "SELECT count(*) FROM van_ban", min = 40000 },
    { name = "văn bản mới nhất", sql = "SELECT max(ngay_den) FROM van_ban", newer_than = "48h" },
  ]
$postgres_job
TOML

step "2. state, keys and repositories"
"$saoluu" config check
"$saoluu" init

step "3. back up, each job to two targets"
"$saoluu" backup --all

step "4. prove that every copy comes back"
for target in o-mot o-hai; do
	"$saoluu" test --all --target "$target"
done

step "5. damage the copies on o-hai on purpose, as a failing disk would"
find "$demo/o-hai/data" -type f -size +1k | while read -r pack; do
	chmod u+w "$pack"
	# All but the ends: backups of several jobs share a pack, and each must be hit.
	size=$(stat -c %s "$pack")
	head -c $((size * 8 / 10)) /dev/urandom | dd of="$pack" bs=64k oflag=seek_bytes seek=$((size / 10)) conv=notrunc status=none
done
code=0
"$saoluu" test van-thu --target o-hai || code=$?
if [ "$code" = 0 ]; then
	echo "demo: the damaged copy passed its test; this must never happen" >&2
	exit 1
fi
note "a red light, as it should be (exit status $code)"

step "6. how things stand, and the report"
"$saoluu" status || note "(exit status $? of status: 0 good, 1 warning, 2 failing, 3 unknown)"
"$saoluu" ledger verify
"$saoluu" report -o "$demo/report.html"
"$saoluu" report --format json -o "$demo/report.json" 2>/dev/null
step "done in $((SECONDS - began)) s; nothing is left running"
note "report:   $demo/report.html"
note "try:      SAOLUU_CONFIG=$SAOLUU_CONFIG $saoluu catalog list"
note "restore:  SAOLUU_CONFIG=$SAOLUU_CONFIG $saoluu restore van-thu --target o-mot --to $demo/back.db"
[ -z "$postgres_jobs" ] || note "(the PostgreSQL server of this demo is stopped; its backup is still there)"
