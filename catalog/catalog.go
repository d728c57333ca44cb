// Package catalog keeps events and the tables derived from them. Append is the
// one write API: it writes the ledger entry and the rows in one transaction.
// The tables are an index; Rebuild replays the ledger into the same rows.
//
// Everything lies in one SQLite file. Three tables are the truth: ledger (the
// entries, in the form of package evidence, and the hashes of the Merkle tree),
// facts (documents by their digest) and checkpoints (signed). All others are
// derived and made by one piece of code, the projection, whether an event is
// appended or replayed.
//
// Several processes may append: a transaction takes the write lock at its
// begin and, if the ledger has grown since this process wrote last, forgets
// what it had kept in memory.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	sys "golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// ErrMissing is what a lookup of one thing returns when there is none.
var ErrMissing = errors.New("not in the catalog")

// Options say which catalog and in whose time.
type Options struct {
	Path     string           // of the SQLite file
	Now      func() time.Time // clock of Append
	Location *time.Location   // where months begin; nil means UTC
	Site     string           // code of the site, for the origin of checkpoints
}

// A Catalog is an open catalog. It may be used by several goroutines.
type Catalog struct {
	options  Options
	readOnly bool
	read     *reader
	write    *sql.DB // one connection, used under mu

	mu     sync.Mutex
	writer *writer // nil until the first Append and after a failure
	packer packer
}

// Create makes an empty catalog and opens it. It refuses to touch a file that
// exists. The file appears under its name only when it is whole.
func Create(ctx context.Context, o Options) (*Catalog, error) {
	op := fmt.Sprintf("make catalog %q", o.Path)
	if _, err := os.Lstat(o.Path); err == nil {
		return nil, fault.New(fault.Refused, op, fs.ErrExist, "a catalog is never overwritten: move the file away first")
	}
	if err := durable.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, fault.New(fault.KindOf(err), op, err, fault.HintOf(err))
	}
	made := o.Path + ".new"
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Failed, op, err, "")
	}
	if err := layOut(ctx, made); err != nil {
		_ = os.Remove(made) // the error that matters is the one before
		return nil, classify(op, err)
	}
	err := os.Link(made, o.Path) // unlike rename, never replaces
	if removed := os.Remove(made); err == nil {
		err = removed
	}
	if errors.Is(err, fs.ErrExist) {
		return nil, fault.New(fault.Refused, op, fs.ErrExist, "a catalog is never overwritten: move the file away first")
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(o.Path))
	}
	if err != nil {
		return nil, fault.New(fault.KindOf(err), op, err, fault.HintOf(err))
	}
	return Open(ctx, o)
}

// layOut writes an empty catalog to a new file and closes it.
func layOut(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(path, url.Values{"_synchronous": {"EXTRA"}}))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, fmt.Sprintf("BEGIN; PRAGMA application_id=%d; PRAGMA user_version=%d; %s; %s; %s; COMMIT",
		applicationID, schemaVersion, truthSchema, derivedSchema, derivedIndexes))
	return errors.Join(err, db.Close())
}

// Open opens a catalog that exists. A missing file is fault.MissingState: no
// command but init makes one, so that a wrong path or an unmounted disk never
// looks like a fresh start.
func Open(ctx context.Context, o Options) (*Catalog, error) { return open(ctx, o, false) }

// OpenReadOnly opens a catalog for reading alone, beside processes that write.
func OpenReadOnly(ctx context.Context, o Options) (*Catalog, error) { return open(ctx, o, true) }

func open(ctx context.Context, o Options, readOnly bool) (*Catalog, error) {
	if o.Location == nil {
		o.Location = time.UTC
	}
	op := fmt.Sprintf("open catalog %q", o.Path)
	if err := checkFile(op, o.Path); err != nil {
		return nil, err
	}
	c := &Catalog{options: o, readOnly: readOnly}
	read := url.Values{"mode": {"ro"}, "_query_only": {"1"}, "_busy_timeout": busyTimeout(lockPatience)}
	if readOnly && settled(o.Path) {
		read.Set("immutable", "1")
	} else if !readOnly {
		read.Set("mode", "rw")
	}
	db, err := sql.Open("sqlite", dsn(o.Path, read))
	if err != nil {
		return nil, classify(op, err)
	}
	db.SetMaxIdleConns(4)
	c.read = newReader(db, readOnly)
	if err := c.checkSchema(ctx, op); err != nil {
		return nil, errors.Join(err, c.read.Close())
	}
	if readOnly {
		return c, nil
	}
	if c.write, err = sql.Open("sqlite", dsn(o.Path, writeValues())); err != nil {
		return nil, errors.Join(classify(op, err), c.read.Close())
	}
	c.write.SetMaxOpenConns(1)
	return c, nil
}

// A writer waits for another up to lockPatience: a rebuild of a large catalog
// holds the lock for tens of seconds. After each lockWait it looks whether its
// context has ended.
const (
	lockWait     = 200 * time.Millisecond
	lockPatience = time.Minute
)

func busyTimeout(d time.Duration) []string { return []string{strconv.FormatInt(d.Milliseconds(), 10)} }

func writeValues() url.Values {
	return url.Values{
		"mode": {"rw"}, "_busy_timeout": busyTimeout(lockWait), "_journal_mode": {"WAL"},
		"_synchronous": {"FULL"}, "_pragma": {"wal_autocheckpoint(4000)", "temp_store(MEMORY)"},
	}
}

func dsn(path string, values url.Values) string {
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: values.Encode()}).String()
}

// settled reports whether the file can be read as it is because nobody can be
// writing: it lies where we may not write, and no write-ahead log is beside it.
// SQLite cannot open such a file the ordinary way.
func settled(path string) bool {
	if _, err := os.Stat(path + "-wal"); err == nil {
		return false
	}
	return sys.Access(filepath.Dir(path), sys.W_OK) != nil
}

// checkFile tells apart what SQLite would call one and the same error, or would
// not mind at all.
func checkFile(op, path string) error {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.MissingState, op, errors.New("the file is missing"), `run "saoluu init", or mount the disk the state lies on`)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, op, errors.New("permission denied"), "run as the user of the service")
	case err != nil:
		return fault.New(fault.Unknown, op, err, "")
	}
	defer f.Close()
	head := make([]byte, 16)
	if n, _ := f.Read(head); string(head[:n]) != "SQLite format 3\x00" {
		return fault.New(fault.Damaged, op, errors.New("this is not a catalog"), rebuildHint)
	}
	return nil
}

const rebuildHint = `run "saoluu catalog rebuild"`

// checkSchema makes sure that the file is a catalog this program understands.
func (c *Catalog) checkSchema(ctx context.Context, op string) error {
	var id, version, tables int64
	err := c.read.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
		(SELECT count(*) FROM sqlite_schema WHERE type='table' AND name IN ('ledger','facts','checkpoints','runs','job_state'))`).Scan(&id, &version, &tables)
	switch {
	case err != nil:
		return classify(op, err)
	case id != applicationID:
		return fault.New(fault.Damaged, op, errors.New("this is a database of another program"), "check paths.state in the configuration")
	case version > schemaVersion:
		return fault.New(fault.Refused, op, fmt.Errorf("its format %d is newer than this program's %d", version, schemaVersion), "install the newer saoluu")
	case version < schemaVersion || tables != 5:
		return fault.New(fault.Damaged, op, fmt.Errorf("its tables are not those of format %d", schemaVersion), rebuildHint)
	}
	return nil
}

// Close ends the use of the catalog. What was appended is on the disk already.
func (c *Catalog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.dropWriter()
	if c.write != nil {
		err = errors.Join(err, c.write.Close())
	}
	return errors.Join(err, c.read.Close())
}
