package targets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// StoredBytes returns the size of all files of the repository. Files that vanish
// while it looks are not counted.
func (l *Local) StoredBytes(ctx context.Context) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(l.Path, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil || !d.Type().IsRegular() {
			return gone(err)
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return gone(err)
	})
	if err != nil {
		return 0, fmt.Errorf("measure target %q: %w", l.Name, err)
	}
	return total, nil
}

// gone is err, unless it says that a file is not there any more.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
