package jobs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"saoluu/config"
	"saoluu/internal/fault"
)

// No path of the data stands in what goes to the ledger.
func TestPublic(t *testing.T) {
	tree := config.Job{Source: config.Source{Paths: []string{"/srv/ho so", "/srv/x/"}}}
	db := config.Job{Source: config.Source{Path: "/srv/shop.db"}}
	glob := config.Job{Source: config.Source{Path: "/srv/db/*.sqlite"}}
	r := &Runner{Config: &config.Config{Paths: config.Paths{Scratch: "/var/scratch"}}}
	for _, tt := range []struct {
		job  config.Job
		err  error
		want string
	}{
		{tree, fault.New(fault.Absent, `path "/srv/ho so/2024 mat"`, errors.New("does not exist"), ""), "path <source path 1>: does not exist"},
		{tree, errors.New("lstat /srv/x/a.doc: input/output error"), "lstat <source path 2>: input/output error"},
		{tree, fmt.Errorf("take facts: %w", &fs.PathError{Op: "read", Path: "/elsewhere/a", Err: syscall.EIO}), "take facts: read: input/output error"},
		{db, errors.New(`database "/srv/shop.db": permission denied`), "database <source path>: permission denied"},
		{glob, errors.New(`copy database "/srv/db/luong.sqlite": locked`), "copy database <source path>: locked"},
		{tree, errors.New("open /var/scratch/test-1/srv/x/a.doc: no space left on device"), "open <scratch>: no space left on device"},
		{db, errors.New(`target "nas": "/mnt/nas" is not mounted`), `target "nas": "/mnt/nas" is not mounted`},
	} {
		if got := r.public(tt.job, tt.err); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
