package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"saoluu/internal/command"
)

// postgres measures backups and restore tests of a PostgreSQL database.
func postgres(ctx context.Context, b *bench) (err error) {
	matches, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(matches) == 0 {
		return fmt.Errorf("no PostgreSQL below /usr/lib/postgresql: run \"make deps\"")
	}
	bin := matches[len(matches)-1]
	dir, err := newServerFolder()
	if err != nil {
		return err
	}
	call := func(program string, args ...string) command.Cmd {
		return asServer(command.Cmd{Argv: append([]string{filepath.Join(bin, program)}, args...), Env: []string{minimalPath, "HOME=" + dir, "LC_ALL=C"}})
	}
	data := filepath.Join(dir, "data")
	defer func() {
		_, stopped := command.Run(context.WithoutCancel(ctx), call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"))
		err = errors.Join(err, stopped, os.RemoveAll(dir))
	}()
	for _, c := range []command.Cmd{
		call("initdb", "-D", data, "-U", "bench", "-A", "trust", "--no-locale", "-E", "UTF8"),
		call("pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "start", "-o", "-c listen_addresses='' -c unix_socket_directories="+dir+
			" -c shared_buffers=512MB -c autovacuum=off -c synchronous_commit=off"),
		call("createdb", "-h", dir, "-U", "bench", "bench"),
	} {
		if _, err := command.Run(ctx, c); err != nil {
			return err
		}
	}
	e := engine{
		dir: dir, testGoal: 0.9,
		source: fmt.Sprintf(`type = "postgres", host = %q, user = "bench", database = "bench"`, dir),
		dump:   []string{filepath.Join(bin, "pg_dump"), "--format=custom", "--compress=0", "--host=" + dir, "--username=bench", "bench"},
		client: []string{filepath.Join(bin, "psql"), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--host=" + dir, "--username=bench", "bench"},
		change: fmt.Sprintf("UPDATE van_ban SET trich_yeu = trich_yeu || ' (sửa)' WHERE id > %d;", b.rows()-b.rows()/100),
		rebuild: fmt.Sprintf(`d=$(mktemp -d /tmp/sbXXXXXX)
PATH=%s:$PATH
initdb -D $d/data -U bench -A trust --no-locale -E UTF8 >/dev/null
pg_ctl -D $d/data -w -l $d/log start -o "-c listen_addresses='' -c unix_socket_directories=$d" >/dev/null
createdb -h $d -U bench restored
pg_restore -h $d -U bench -d restored --exit-on-error "$1"
psql -qAt -h $d -U bench restored -c 'SELECT count(*) FROM van_ban' -c 'SELECT count(*) FROM ho_so' -c 'SELECT count(*) FROM nhat_ky' >/dev/null
pg_ctl -D $d/data -m immediate -w stop >/dev/null
rm -r $d`, bin),
		borgmatic: "    postgresql_databases:\n        - name: bench\n          username: bench\n",
	}
	if _, err := command.Run(ctx, command.Cmd{Argv: e.client, Env: []string{minimalPath}, Stdin: strings.NewReader(postgresData(b.rows()))}); err != nil {
		return err
	}
	return b.databases(ctx, e)
}

// postgresData makes three tables with indexes and keys: documents, the files they
// belong to, and a log. A row of the largest is about 250 bytes in a dump.
func postgresData(rows int) string {
	return fmt.Sprintf(`
CREATE TABLE ho_so (id int PRIMARY KEY, ten text NOT NULL, mo_ngay date NOT NULL);
INSERT INTO ho_so SELECT i, 'Hồ sơ ' || md5('h' || i), date '2020-01-01' + i %% 2000 FROM generate_series(1, %[1]d / 10) i;
CREATE TABLE van_ban (id int PRIMARY KEY, ho_so int NOT NULL, so_hieu text NOT NULL, ngay timestamptz NOT NULL, trich_yeu text NOT NULL, so_trang int);
INSERT INTO van_ban SELECT i, 1 + i %% (%[1]d / 10), i || '/QĐ-UBND', timestamptz '2024-01-01' + i * interval '1 minute',
	'Về việc ' || md5('a' || i) || ' quản lý, khai thác hồ sơ ' || md5('b' || i) || ' và bảo đảm an toàn thông tin mạng ' || md5('c' || i), i %% 90
	FROM generate_series(1, %[1]d) i;
CREATE INDEX ON van_ban (ngay);
ALTER TABLE van_ban ADD FOREIGN KEY (ho_so) REFERENCES ho_so;
CREATE TABLE nhat_ky (id int PRIMARY KEY, luc timestamptz NOT NULL, nguoi text, viec jsonb);
INSERT INTO nhat_ky SELECT i, timestamptz '2025-01-01' + i * interval '17 seconds', 'nguoi-' || i %% 200, jsonb_build_object('xem', i * 7 %% %[1]d, 'tu', md5('n' || i))
	FROM generate_series(1, %[1]d / 2) i;
CREATE INDEX ON nhat_ky (luc);
ANALYZE;
`, rows)
}
