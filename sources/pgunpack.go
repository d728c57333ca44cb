package sources

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"saoluu/internal/fault"
)

// maxClusterFile bounds one file of a cluster: its segments are of 1 GiB unless the
// server was built otherwise.
const maxClusterFile = 64 << 30

// UnpackCluster writes what pg_basebackup made, a tar, into an empty folder as the
// data folder of a server that only its owner may enter. own is called with where each
// entry lies below dir and the owner of all at the source; nil leaves all to us. The error is
// fault.Damaged when the tar is none, ends too early, or holds what no cluster has.
// On error what was written stays; it is no cluster without global/pg_control, which
// servers send near the end.
func UnpackCluster(ctx context.Context, r io.Reader, dir string, own func(root *os.Root, name string, uid, gid int) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacking{root: root, own: own}
	entries := tar.NewReader(r)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return tarError(err)
		}
		if err := u.entry(h, entries); err != nil {
			return err
		}
	}
	if !u.manifest {
		return fault.New(fault.Damaged, "unpack the server's files", errors.New("there is no manifest among them"), "")
	}
	_, err = io.Copy(io.Discard, r) // whatever fills its last block up
	return err
}

// An unpacking is a data folder under way.
type unpacking struct {
	root     *os.Root
	own      func(root *os.Root, name string, uid, gid int) error
	manifest bool // has been seen
	uid, gid int  // of the first entry: the manifest, put in by pg_basebackup, has none of the server's
	begun    bool
}

// entry writes one file or folder.
func (u *unpacking) entry(h *tar.Header, content io.Reader) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "./"))
	strange := func(what string) error {
		return fault.New(fault.Damaged, "unpack the server's files", fmt.Errorf("%q %s", h.Name, what), "")
	}
	if !fs.ValidPath(name) {
		return strange("is no place in a data folder")
	}
	if !u.begun {
		u.begun, u.uid, u.gid = true, h.Uid, h.Gid
	}
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		err = u.root.MkdirAll(name, 0o700)
	case tar.TypeReg:
		if h.Size > maxClusterFile {
			return strange("is larger than any file of a server")
		}
		u.manifest = u.manifest || name == "backup_manifest"
		err = u.file(name, content)
	default:
		return strange("is neither file nor folder")
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return strange("comes twice")
	case err == nil && u.own != nil:
		err = u.own(u.root, name, u.uid, u.gid)
	}
	return err
}

func (u *unpacking) file(name string, content io.Reader) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	file, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	var pe *fs.PathError
	if err != nil && !errors.As(err, &pe) {
		err = tarError(err)
	}
	return errors.Join(err, file.Close())
}

// tarError classes what the archive is read with. What a reader of ours failed with
// stays what it is.
func tarError(err error) error {
	var ours *fault.Error
	var errno syscall.Errno
	if errors.As(err, &ours) || errors.As(err, &errno) || errors.Is(err, context.Canceled) {
		return err
	}
	return fault.New(fault.Damaged, "unpack the server's files", err, "")
}

// ClusterVersion returns the major version of the server that a tar is the copy of.
// The error is fault.Damaged when it does not tell.
func ClusterVersion(r io.Reader) (string, error) {
	entries := tar.NewReader(r)
	for {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", tarError(err)
		}
		if h.Name != "PG_VERSION" && h.Name != "./PG_VERSION" {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(entries, 16))
		if err != nil {
			return "", tarError(err)
		}
		return strings.TrimSpace(string(text)), nil
	}
}
