package sources

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"saoluu/internal/fault"
)

// partDatabase is the name of the part of a single database.
const partDatabase = "database"

// copyPages is how many pages are copied between two looks at the context: 16
// MiB of the usual 4 KiB pages.
const copyPages = 4096

// busyWait is how long a database may be locked against readers, in
// milliseconds. Writers of rollback journals lock it for one commit at a time.
const busyWait = 30_000

// SQLite is a source of SQLite databases. Each is copied to scratch through
// SQLite's own backup interface inside one read transaction, so the copy is of
// one instant however much is written meanwhile. A database in WAL mode goes on
// being written; one with a rollback journal waits with its commits for the time
// of one sequential copy.
type SQLite struct {
	// Path is one file or a pattern of path/filepath.Match. Each database is
	// consistent in itself; several are not of exactly the same instant.
	Path string
	// FactsMode is ModeFull (the default) or ModeCounts.
	FactsMode string
	// FactsLimit is how long the facts of all databases may take; 0 means until all
	// are taken.
	FactsLimit time.Duration
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source  = (*SQLite)(nil)
	_ Locator = (*SQLite)(nil)
)

// Prepare copies every database. The errors are fault.Absent when there is none,
// fault.NoSpace when scratch cannot hold the copies, and fault.Locked when a
// writer does not let go.
func (s *SQLite) Prepare(ctx context.Context, scratch string) (p Payload, err error) {
	paths, err := s.paths()
	if err != nil {
		return Payload{}, err
	}
	if err := spaceFor(paths, scratch); err != nil {
		return Payload{}, err
	}
	var copies []string
	release := func() error {
		var errs []error
		for _, c := range copies {
			errs = append(errs, removeDatabase(c))
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			p, err = Payload{}, errors.Join(err, release())
		}
	}()
	p = Payload{At: s.Now(), Release: release}
	facts := map[string]string{}
	for _, path := range paths {
		part := s.part(path)
		to := filepath.Join(scratch, part+".sqlite")
		copies = append(copies, to)
		if err := copyDatabase(ctx, path, to); err != nil {
			return p, err
		}
		p.Parts = append(p.Parts, Part{Name: part, File: to, Filename: s.filename(path, paths)})
		facts[part] = to
	}
	p.Facts = func(ctx context.Context) ([]Fact, error) {
		plan := FactsPlan{Mode: cmp.Or(s.FactsMode, ModeFull), Limit: s.FactsLimit, Now: s.Now}
		clock := plan.start()
		var all []Fact
		for _, part := range p.Parts {
			got, err := sqliteFacts(ctx, facts[part.Name], plan, clock)
			if err != nil {
				return nil, fmt.Errorf("facts of %q: %w", part.Filename, err)
			}
			if err := sound(part.Filename, got); err != nil {
				return nil, err
			}
			all = append(all, ofPart(part.Name, got)...)
		}
		return all, nil
	}
	return p, nil
}

// sound fails when SQLite's own check finds damage: a faithful copy of a damaged
// database is no good backup, and somebody must be told now.
func sound(name string, facts []Fact) error {
	for _, f := range facts {
		if f.Kind == FactIntegrity && f.Value != integrityOK {
			return fault.New(fault.Damaged, fmt.Sprintf("database %q", name), fmt.Errorf("its own check finds damage: %s", f.Value),
				"repair it with its application, or restore an older copy")
		}
	}
	return nil
}

// Locations returns the database files.
func (s *SQLite) Locations(context.Context) ([]string, error) { return s.paths() }

func (s *SQLite) paths() ([]string, error) {
	op := fmt.Sprintf("sqlite %q", s.Path)
	if s.FactsMode != "" && s.FactsMode != ModeFull && s.FactsMode != ModeCounts {
		return nil, fault.New(fault.Usage, op, fmt.Errorf("unknown way %q to take facts", s.FactsMode), "use full or counts")
	}
	if !filepath.IsAbs(s.Path) {
		return nil, fault.New(fault.Usage, op, errors.New("not absolute"), "start it with a slash")
	}
	if _, err := os.Stat(s.Path); err == nil {
		return []string{filepath.Clean(s.Path)}, nil // a name may look like a pattern
	} else if errors.Is(err, fs.ErrPermission) {
		return nil, fault.New(fault.Denied, op, errors.New("permission denied"), "let the user that runs saoluu read it")
	}
	found, err := filepath.Glob(s.Path)
	if err != nil {
		return nil, fault.New(fault.Usage, op, err, "write the pattern as a shell would take it")
	}
	found = slices.DeleteFunc(found, func(p string) bool {
		return strings.HasSuffix(p, "-wal") || strings.HasSuffix(p, "-shm") || strings.HasSuffix(p, "-journal")
	})
	if len(found) == 0 {
		return nil, fault.New(fault.Absent, op, errors.New("no such file"), "correct the path, or mount what holds it")
	}
	return found, nil
}

// part names the part of one database. A part's name is kept in evidence, so it
// holds no file name; it is the same every time.
func (s *SQLite) part(path string) string {
	if path == filepath.Clean(s.Path) {
		return partDatabase
	}
	sum := sha256.Sum256([]byte(path))
	return partDatabase + "-" + hex.EncodeToString(sum[:4])
}

// filename is the name inside the snapshot, unique among all.
func (s *SQLite) filename(path string, all []string) string {
	base := filepath.Base(path)
	for _, other := range all {
		if other != path && filepath.Base(other) == base {
			return s.part(path) + "-" + base
		}
	}
	return base
}

// spaceFor fails when scratch has no room for the copies and a tenth more.
func spaceFor(paths []string, scratch string) error {
	var need int64
	for _, path := range paths {
		for _, suffix := range []string{"", "-wal"} {
			if st, err := os.Stat(path + suffix); err == nil {
				need += st.Size() + st.Size()/10
			}
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(scratch, &st); err != nil {
		return scratchError(scratch, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fault.New(fault.NoSpace, fmt.Sprintf("scratch folder %q", scratch),
			fmt.Errorf("%d MiB free, %d MiB needed for a copy of the database", free>>20, need>>20), "free some space, or move paths.scratch")
	}
	return nil
}

// copyDatabase makes a consistent copy of the database at from.
func copyDatabase(ctx context.Context, from, to string) error {
	op := fmt.Sprintf("copy database %q", from)
	if err := looksLikeSQLite(from); err != nil {
		return err
	}
	made, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return scratchError(to, err)
	}
	if err := made.Close(); err != nil {
		return scratchError(to, err)
	}
	err = copyView(ctx, from, to, url.Values{"mode": {"ro"}})
	if cannotShare(err) && atRest(from) {
		return sqliteError(op, copyAtRest(ctx, from, to))
	}
	return sqliteError(op, err)
}

// copyView copies what one read transaction sees.
func copyView(ctx context.Context, from, to string, query url.Values) error {
	db, err := openSQLite(from, query)
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The read transaction pins one state: without it a backup starts again
	// whenever somebody else writes, and under a busy writer never ends.
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	var n int
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
		return err
	}
	return conn.Raw(func(driver any) error { return copyPagesTo(ctx, driver, to) })
}

// cannotShare reports whether SQLite could not take part in the locking of a
// database: in WAL mode that takes a file beside it, which is not there while
// nobody has the database open, and which we may not make.
func cannotShare(err error) bool {
	var se *sqlite.Error
	if !errors.As(err, &se) {
		return false
	}
	code := se.Code() & 0xff
	return code == sqlite3.SQLITE_CANTOPEN || code == sqlite3.SQLITE_READONLY
}

// atRest reports whether nobody has a database in WAL mode open: everything is in
// the one file then.
func atRest(path string) bool {
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if _, err := os.Lstat(path + suffix); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// restTries is how often a database at rest is copied that wakes up meanwhile.
const restTries = 3

// copyAtRest copies a database that nobody has open, without any lock, and makes
// sure that nobody opened it meanwhile.
func copyAtRest(ctx context.Context, from, to string) error {
	for range restTries {
		before, err := os.Stat(from)
		if err != nil {
			return err
		}
		was := seen(from, before)
		if err := copyView(ctx, from, to, url.Values{"mode": {"ro"}, "immutable": {"1"}}); err != nil {
			return err
		}
		after, err := os.Stat(from)
		if err != nil {
			return err
		}
		if was.same(after) && atRest(from) {
			return nil
		}
		if err := os.Truncate(to, 0); err != nil {
			return err
		}
	}
	return fault.New(fault.Locked, fmt.Sprintf("copy database %q", from), errors.New("it is opened again and again, and this user may not share it"),
		"let the user that runs saoluu write beside it")
}

// A backuper is a connection of the driver.
type backuper interface {
	NewBackup(uri string) (*sqlite.Backup, error)
}

func copyPagesTo(ctx context.Context, driver any, to string) error {
	conn, ok := driver.(backuper)
	if !ok {
		return errors.New("the driver has no backup interface")
	}
	backup, err := conn.NewBackup(sqliteURI(to, nil))
	if err != nil {
		return err
	}
	for more := true; more && err == nil; {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
			break
		}
		more, err = backup.Step(copyPages)
	}
	return errors.Join(err, backup.Finish())
}

// looksLikeSQLite tells a database from other files before SQLite opens it,
// because an answer of SQLite's may come late and say little.
func looksLikeSQLite(path string) error {
	op := fmt.Sprintf("database %q", path)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return fault.New(fault.Denied, op, errors.New("permission denied"), "let the user that runs saoluu read it")
	}
	if err != nil {
		return fault.New(fault.Absent, op, err, "")
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	// The first 16 bytes of every database that is not empty (SQLite file format, 1.3).
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	n, _ := file.Read(head)
	if !st.Mode().IsRegular() || n > 0 && string(head[:n]) != magic {
		return fault.New(fault.Failed, op, errors.New("not an SQLite database"), "correct the path; an encrypted database needs its application's own dump")
	}
	return nil
}

// sqliteURI makes the URI of a database file for the driver.
func sqliteURI(path string, query url.Values) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	return u.String()
}

// openSQLite opens a database with one connection.
func openSQLite(path string, query url.Values) (*sql.DB, error) {
	query.Set("_pragma", fmt.Sprintf("busy_timeout(%d)", busyWait))
	db, err := sql.Open("sqlite", sqliteURI(path, query))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// sqliteError classes an error of SQLite's (result codes: sqlite.org/rescode.html).
func sqliteError(op string, err error) error {
	var se *sqlite.Error
	if err == nil || !errors.As(err, &se) {
		return err
	}
	switch code := se.Code(); code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fault.New(fault.Locked, op, err, "see which program keeps the database locked")
	case sqlite3.SQLITE_FULL:
		return fault.New(fault.NoSpace, op, err, "free some space, or move paths.scratch")
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fault.New(fault.Damaged, op, err, "check it with its application; then restore an older copy")
	case sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return fault.New(fault.Denied, op, err, "let the user that runs saoluu read it")
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return fault.New(fault.Denied, op, err, "let the user that runs saoluu write beside it (WAL mode needs that), or open it once with its application, so that it recovers from a crash")
	default:
		return fault.New(fault.Failed, op, err, "")
	}
}

// removeDatabase removes a database and what SQLite may have left beside it.
func removeDatabase(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
