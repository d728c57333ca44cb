package sources

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// freezeLimit bounds for how long mariabackup is stopped, and with it everybody who
// wants to commit. A snapshot is open within a millisecond.
const freezeLimit = 5 * time.Second

// mariabackup is the program with its arguments. The target folder is never made: it
// streams.
func (p *mariaPhysical) mariabackup() command.Cmd {
	return p.source.client(p.program, p.options, "--backup", "--stream=xbstream", "--datadir="+p.data, "--target-dir="+p.path+".none")
}

// copy runs mariabackup. frozen is why no snapshot of the same instant could be opened
// on conn; nil when there is one.
func (p *mariaPhysical) copy(ctx context.Context, conn *sql.Conn, pipe io.Writer) (frozen, err error) {
	watch := &backupWatch{locked: make(chan struct{}), resume: make(chan struct{})}
	backup := p.mariabackup()
	backup.Stdout, backup.StderrLine = pipe, watch.line
	running, err := command.Start(ctx, backup)
	if err != nil {
		return nil, err
	}
	select {
	case <-watch.locked:
		frozen = p.freeze(ctx, running, conn)
	case <-running.Done():
		frozen = errors.New("mariabackup does not tell when nobody can commit")
	}
	close(watch.resume)
	if _, err := running.Wait(); err != nil {
		return frozen, p.fault(err)
	}
	if !watch.complete {
		return frozen, fault.New(fault.Failed, p.source.op("back up"), errors.New(`mariabackup ended without "completed OK!"`), "see what it says by hand")
	}
	return frozen, nil
}

// A backupWatch reads what mariabackup says.
type backupWatch struct {
	once     sync.Once
	locked   chan struct{} // closed when nobody can commit any more
	resume   chan struct{} // mariabackup is not listened to until it is closed
	complete bool
}

// Words of mariabackup: it says the first when the server lets nobody commit until it
// is done, and the second at the end of a backup that is whole (MariaDB manual,
// "BACKUP STAGE" and "Full Backup and Restore with mariadb-backup").
var (
	commitsLocked = []byte("Acquired locks for BACKUP STAGE BLOCK_COMMIT")
	completedOK   = []byte("completed OK!")
)

func (w *backupWatch) line(text []byte) {
	if bytes.Contains(text, commitsLocked) {
		w.once.Do(func() { close(w.locked) })
		<-w.resume
	}
	w.complete = bytes.HasSuffix(bytes.TrimSpace(text), completedOK)
}

// freeze opens a snapshot on conn while mariabackup keeps everybody from committing.
// mariabackup is stopped meanwhile, and its lock is seen to be there still when the
// snapshot is open: else the two may not be of the same instant.
func (p *mariaPhysical) freeze(ctx context.Context, running *command.Process, conn *sql.Conn) (err error) {
	ctx, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	if err := running.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Signal(syscall.SIGCONT)) }()
	probe, err := p.source.session(ctx, p.server)
	if err != nil {
		return err
	}
	defer probe.Close()
	if _, err := probe.ExecContext(ctx, "SET lock_wait_timeout = 0"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT"); err != nil {
		return err
	}
	_, err = probe.ExecContext(ctx, "BACKUP STAGE START")
	var me *mysql.MySQLError
	switch {
	case errors.As(err, &me) && me.Number == 1205: // ER_LOCK_WAIT_TIMEOUT: mariabackup has it
		return nil
	case err == nil:
		_, err = probe.ExecContext(ctx, "BACKUP STAGE END")
		return errors.Join(errors.New("mariabackup let others commit too soon"), err)
	}
	return err
}

// backupTroubles are words of mariabackup that mean more than that it failed.
var backupTroubles = []struct {
	text *regexp.Regexp
	kind fault.Kind
	hint string
}{
	{regexp.MustCompile(`Access denied`), fault.Denied, "correct user and password"},
	{regexp.MustCompile(`errno: 13\b|Permission denied|OS error 13`), fault.Denied, "let the user that runs saoluu read all of the server's data folder"},
	{regexp.MustCompile(`errno: 24\b|Too many open files`), fault.Failed, "raise the limit of open files (LimitNOFILE) above the number of tables"},
	{regexp.MustCompile(`Lost connection|has gone away|Failed to connect|Can't connect`), fault.Absent, "see the server's log: it ended, was restarted or dropped the connection during the backup"},
	{regexp.MustCompile(`(?i)failed to get redo log|log block .* has been overwritten|log overwritten|was overwritten`), fault.Failed, "raise innodb_log_file_size: the server wrote more than its log holds while it was read"},
	{regexp.MustCompile(`(?i)corrupt`), fault.Damaged, "see the server's log; restore an older copy if its storage is damaged"},
}

// fault classes how mariabackup failed.
func (p *mariaPhysical) fault(err error) error {
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	op := p.source.op("back up")
	for _, t := range backupTroubles {
		if t.text.MatchString(exit.Stderr) {
			return fault.New(t.kind, op, err, t.hint)
		}
	}
	return fault.New(fault.Failed, op, err, "")
}
