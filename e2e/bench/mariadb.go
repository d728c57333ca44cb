package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"saoluu/internal/command"
)

// mariadbSettings are those of the source; what restores gets none of them.
var mariadbSettings = []string{"--skip-networking", "--skip-name-resolve", "--innodb-buffer-pool-size=512M", "--innodb-flush-log-at-trx-commit=0", "--performance-schema=OFF"}

// mariadb measures backups and restore tests of a MariaDB database.
func mariadb(ctx context.Context, b *bench) (err error) {
	dir, err := newServerFolder()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	call := func(args ...string) command.Cmd {
		return asServer(command.Cmd{Argv: args, Env: []string{minimalPath, "HOME=" + dir, "LC_ALL=C"}})
	}
	if _, err := command.Run(ctx, call("mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--tmpdir="+dir)); err != nil {
		return err
	}
	daemon := call(append([]string{"mariadbd", "--no-defaults", "--datadir=" + data, "--socket=" + socket, "--tmpdir=" + dir, "--log-error=" + filepath.Join(dir, "log")}, mariadbSettings...)...)
	daemon.Interrupt, daemon.Grace = syscall.SIGKILL, time.Second
	server, err := command.Start(ctx, daemon)
	if err != nil {
		return err
	}
	defer func() {
		var exit *command.ExitError
		if stopped := server.Stop(time.Second); !errors.As(stopped, &exit) {
			err = errors.Join(err, stopped)
		}
	}()
	if _, err := command.Run(ctx, call("bash", "-c", "for i in $(seq 300); do mariadb-admin --no-defaults --socket="+socket+" --user=root ping >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1")); err != nil {
		return err
	}
	e := engine{
		dir: dir, testGoal: 1.05,
		source: fmt.Sprintf(`type = "mariadb", host = %q, user = "root", database = "bench"`, socket),
		dump: []string{
			"/usr/bin/mariadb-dump", "--no-defaults", "--socket=" + socket, "--user=root", "--single-transaction", "--quick",
			"--routines", "--events", "--triggers", "--hex-blob", "--default-character-set=utf8mb4", "bench",
		},
		client:    []string{"mariadb", "--no-defaults", "--socket=" + socket, "--user=root", "--default-character-set=utf8mb4"},
		change:    fmt.Sprintf("UPDATE bench.van_ban SET trich_yeu = concat(trich_yeu, ' (sửa)') WHERE id > %d;", b.rows()-b.rows()/100),
		rebuild:   mariadbRebuild,
		borgmatic: fmt.Sprintf("    mysql_databases:\n        - name: bench\n          username: root\n          options: --socket=%[1]s\n          list_options: --socket=%[1]s\n", socket),
	}
	if _, err := command.Run(ctx, command.Cmd{Argv: e.client, Env: []string{minimalPath}, Stdin: strings.NewReader(mariadbData(b.rows()))}); err != nil {
		return err
	}
	return b.databases(ctx, e)
}

const mariadbRebuild = `d=$(mktemp -d /tmp/sbXXXXXX)
mariadb-install-db --no-defaults --datadir=$d/data --auth-root-authentication-method=normal --skip-test-db --tmpdir=$d >/dev/null
mariadbd --no-defaults --datadir=$d/data --socket=$d/s --tmpdir=$d --skip-networking --log-error=$d/log &
for i in $(seq 300); do mariadb-admin --no-defaults --socket=$d/s --user=root ping >/dev/null 2>&1 && break; sleep 0.1; done
c="mariadb --no-defaults --socket=$d/s --user=root"
$c -e 'CREATE DATABASE restored'
$c restored <"$1"
$c restored -e 'SELECT count(*) FROM van_ban; SELECT count(*) FROM ho_so; SELECT count(*) FROM nhat_ky' >/dev/null
kill -9 $!
wait $! || true # it was killed, which is its status
rm -r $d`

// mariadbData is what postgresData is. The rows come from MariaDB's engine of
// sequences.
func mariadbData(rows int) string {
	return fmt.Sprintf(`
CREATE DATABASE bench CHARACTER SET utf8mb4;
USE bench;
CREATE TABLE ho_so (id int PRIMARY KEY, ten text NOT NULL, mo_ngay date NOT NULL);
INSERT INTO ho_so SELECT seq, concat('Hồ sơ ', md5(concat('h', seq))), date '2020-01-01' + interval seq %% 2000 day FROM seq_1_to_%[2]d;
CREATE TABLE van_ban (id int PRIMARY KEY, ho_so int NOT NULL, so_hieu text NOT NULL, ngay datetime NOT NULL, trich_yeu text NOT NULL, so_trang int, KEY (ngay), FOREIGN KEY (ho_so) REFERENCES ho_so (id));
INSERT INTO van_ban SELECT seq, 1 + seq %% %[2]d, concat(seq, '/QĐ-UBND'), timestamp '2024-01-01 00:00:00' + interval seq minute,
	concat('Về việc ', md5(concat('a', seq)), ' quản lý, khai thác hồ sơ ', md5(concat('b', seq)), ' và bảo đảm an toàn thông tin mạng ', md5(concat('c', seq))), seq %% 90
	FROM seq_1_to_%[1]d;
CREATE TABLE nhat_ky (id int PRIMARY KEY, luc datetime NOT NULL, nguoi varchar(40), viec json, KEY (luc));
INSERT INTO nhat_ky SELECT seq, timestamp '2025-01-01 00:00:00' + interval seq * 17 second, concat('nguoi-', seq %% 200), json_object('xem', seq * 7 %% %[1]d, 'tu', md5(concat('n', seq)))
	FROM seq_1_to_%[3]d;
`, rows, rows/10, rows/2)
}
