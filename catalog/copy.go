package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	"saoluu/internal/fault"
)

// CopyTo writes the catalog, as it is at one instant, to a new file. Others may
// append meanwhile. It returns how many ledger entries there were before it began;
// the copy has at least so many.
func (c *Catalog) CopyTo(ctx context.Context, path string) (entries int64, err error) {
	op := fmt.Sprintf("copy the catalog to %q", path)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return 0, fault.New(fault.Refused, op, errors.Join(fs.ErrExist, err), "")
	}
	entries, err = c.TreeSize(ctx)
	if err != nil {
		return 0, err
	}
	db, err := sql.Open("sqlite", dsn(c.options.Path, url.Values{"mode": {"rw"}, "_busy_timeout": busyTimeout(lockPatience)}))
	if err != nil {
		return 0, classify(op, err)
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, path)
	if err := errors.Join(err, db.Close()); err != nil {
		return 0, classify(op, err)
	}
	return entries, classify(op, os.Chmod(path, 0o600))
}
