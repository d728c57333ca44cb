package jobs

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"saoluu/internal/command"
	"saoluu/sources"
)

// mariaFiles says how a copy of mariabackup becomes a data folder. The programs see
// that folder alone: what the stream names its files must not reach beyond it.
func (r *Runner) mariaFiles(ctx context.Context, p RestorePlan) (files, error) {
	u, err := sources.FindUnpacker(ctx, p.Job.Source.Bin, "")
	if err != nil {
		return files{}, err
	}
	spell := func(dir string) func(path string, args ...string) command.Cmd {
		return func(path string, args ...string) command.Cmd {
			argv := append([]string{path}, args...)
			if len(r.Confine) > 0 {
				argv = slices.Concat(r.Confine, []string{"--read", u.Bin(), "--write", dir, "--"}, argv)
			}
			return command.Cmd{Argv: argv, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TMPDIR=" + dir}, Dir: dir}
		}
	}
	return files{
		last: "mysql",
		unpack: func(ctx context.Context, stream io.Reader, dir string) error {
			return u.Unpack(ctx, stream, dir, spell(dir))
		},
		finish: func(ctx context.Context, dir string) error {
			if err := u.Prepare(ctx, dir, spell(dir)); err != nil {
				return err
			}
			return ownedLike(p.To, dir)
		},
	}, nil
}

// ownedLike gives all files below dir the owner of a folder, where we may: who made it
// for a server made it the server's.
func ownedLike(folder, dir string) error {
	info, err := os.Stat(folder)
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}
