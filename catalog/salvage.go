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

	"saoluu/evidence"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// A Rebuilt says what RebuildFile did.
type Rebuilt struct {
	Entries int64  // of the ledger that the tables were made from
	Damaged string // where the damaged file was put; empty when the file was whole
	Whole   bool   // the ledger was read to its end, so that nothing of it is lost
	// Lost is how many entries are known to have followed and cannot be read any
	// more. Unless Whole there may have been more: the end is not known.
	Lost int64
}

// RebuildFile is Rebuild for a catalog that may be too damaged to open. From a
// damaged file it takes the unbroken beginning of the ledger, all facts and all
// checkpoints that can be read, makes a new file of them, and puts the damaged
// one aside under a new name. Checkpoints beyond what was saved are kept, so
// that Verify goes on telling of the loss. Nobody else may have the catalog
// open when it is damaged.
func RebuildFile(ctx context.Context, o Options, progress func(done, total int64)) (Rebuilt, error) {
	whole, err := rebuildWhole(ctx, o, progress)
	if fault.KindOf(err) != fault.Damaged {
		return whole, err
	}
	op := fmt.Sprintf("save what is left of catalog %q", o.Path)
	saved, cause := salvage(ctx, o, progress)
	if cause != nil {
		return Rebuilt{}, classify(op, cause)
	}
	return saved, nil
}

func rebuildWhole(ctx context.Context, o Options, progress func(done, total int64)) (Rebuilt, error) {
	c, err := Open(ctx, o)
	if err != nil {
		return Rebuilt{}, err
	}
	err = c.Rebuild(ctx, progress)
	var size int64
	if err == nil {
		size, err = c.TreeSize(ctx)
	}
	return Rebuilt{Entries: size, Whole: err == nil}, errors.Join(err, c.Close())
}

// salvage copies the readable part of the truth into a new file and swaps the
// files.
func salvage(ctx context.Context, o Options, progress func(done, total int64)) (Rebuilt, error) {
	made := o.Path + ".new"
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Rebuilt{}, err
	}
	if err := layOut(ctx, made); err != nil {
		return Rebuilt{}, err
	}
	saved, err := saveInto(ctx, o, made)
	if err != nil {
		return Rebuilt{}, errors.Join(err, os.Remove(made))
	}
	fresh := o
	fresh.Path = made
	if _, err := rebuildWhole(ctx, fresh, progress); err != nil {
		return Rebuilt{}, errors.Join(err, os.Remove(made))
	}
	saved.Damaged = o.Path + ".damaged-" + o.Now().UTC().Format("20060102T150405Z")
	// The old log goes first, because it must never meet the new file; then the
	// name changes hands in one step, so that there is a catalog at every instant.
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Rename(o.Path+suffix, saved.Damaged+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Rebuilt{}, err
		}
	}
	if err := os.Link(o.Path, saved.Damaged); err != nil {
		return Rebuilt{}, err
	}
	if err := os.Rename(made, o.Path); err != nil {
		return Rebuilt{}, err
	}
	return saved, durable.SyncDir(filepath.Dir(o.Path))
}

func saveInto(ctx context.Context, o Options, made string) (saved Rebuilt, err error) {
	// With writable_schema SQLite reads on in a file that is shorter than it says.
	old, err := sql.Open("sqlite", dsn(o.Path, url.Values{"mode": {"ro"}, "_query_only": {"1"}, "_pragma": {"writable_schema(1)"}}))
	if err != nil {
		return Rebuilt{}, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	fresh := o
	fresh.Path = made
	c, err := Open(ctx, fresh)
	if err != nil {
		return Rebuilt{}, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	err = c.transact(ctx, func(ctx context.Context, w *writer) error {
		if err := w.refresh(ctx); err != nil {
			return err
		}
		if saved.Whole, err = saveLedger(ctx, old, w); err != nil {
			return err
		}
		if saved.Entries = w.edge.size; saved.Entries == 0 {
			return fault.New(fault.Damaged, fmt.Sprintf("read the ledger of %q", o.Path), errors.New("not one entry can be read"),
				`put back a copy of the file, or run "saoluu catalog rebuild --from-repositories"`)
		}
		return errors.Join(
			saveRows(ctx, old, w, `SELECT sha256, data FROM facts`, `INSERT OR IGNORE INTO facts(sha256, data) VALUES(?,?)`, 2),
			saveRows(ctx, old, w, `SELECT size, at, note FROM checkpoints`, `INSERT OR IGNORE INTO checkpoints(size, at, note) VALUES(?,?,?)`, 3))
	})
	// The end of the ledger and the checkpoints may still say how long it was.
	for _, query := range []string{`SELECT max(seq)+1 FROM ledger`, `SELECT max(size) FROM checkpoints`} {
		var size int64
		if err := old.QueryRowContext(ctx, query).Scan(&size); err == nil {
			saved.Lost = max(saved.Lost, size-saved.Entries)
			saved.Whole = saved.Whole && saved.Lost == 0
		}
	}
	return saved, err
}

// saveLedger copies entries up to the first that is missing or not readable, and
// reports whether there is none such. That reading breaks off is what this is
// for, and no error.
func saveLedger(ctx context.Context, old *sql.DB, w *writer) (whole bool, err error) {
	rows, err := old.QueryContext(ctx, `SELECT entry FROM ledger ORDER BY seq`)
	if err != nil {
		return false, nil
	}
	defer rows.Close()
	for rows.Next() {
		var line []byte
		if err := rows.Scan(&line); err != nil {
			return false, nil
		}
		e, err := evidence.ParseEntry(line)
		if err != nil || e.Seq != w.edge.size {
			return false, nil
		}
		kind, err := number(kinds(), "event kind", e.Kind)
		if err != nil {
			return false, nil
		}
		hashes := w.edge.add(line, nil)
		if err := w.exec(ctx, `INSERT INTO ledger(seq, at, kind, entry, hashes) VALUES(?,?,?,?,?)`, e.Seq, e.At.Unix(), kind, line, hashes); err != nil {
			return false, err
		}
	}
	return rows.Err() == nil, nil
}

// saveRows copies the rows that can be read.
func saveRows(ctx context.Context, old *sql.DB, w *writer, from, into string, columns int) error {
	rows, err := old.QueryContext(ctx, from)
	if err != nil {
		return nil
	}
	defer rows.Close()
	values, places := make([]any, columns), make([]any, columns)
	for i := range values {
		places[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return nil
		}
		if err := w.exec(ctx, into, values...); err != nil {
			return err
		}
	}
	return nil
}
