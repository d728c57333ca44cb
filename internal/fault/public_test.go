package fault_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"saoluu/internal/fault"
)

type counted struct{}

func (counted) Error() string  { return "/srv/secret.doc: no" }
func (counted) Public() string { return "1 file" }

func TestPublic(t *testing.T) {
	path := &fs.PathError{Op: "open", Path: "/srv/a b.doc", Err: syscall.EACCES}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("plain"), "plain"},
		{path, "open: permission denied"},
		{&os.LinkError{Op: "rename", Old: "/srv/a", New: "/srv/b", Err: syscall.EIO}, "rename: input/output error"},
		{fault.New(fault.Incomplete, `job "x"`, counted{}, ""), `job "x": 1 file`},
		{fmt.Errorf("twice: %w", errors.Join(path, fmt.Errorf("and %w", counted{}))), "twice: open: permission denied\nand 1 file"},
		{fault.New(fault.Failed, "only", nil, ""), "only"},
	} {
		if got := fault.Public(tt.err); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
