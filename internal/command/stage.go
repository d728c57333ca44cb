package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A stage is a root of the file system made of the system's programs and of restored
// trees, each at the place it has on the machine it was saved from: a program that looks
// at a configuration there finds what that names by its own name, and nothing of this
// machine. It is built in namespaces of the caller's making (unshare(1)).
type stage struct {
	root  string   // an empty folder
	trees []string // what was restored
}

// stageSystem are the folders of this machine that programs come from. A restored tree
// does not replace them.
var stageSystem = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// stageFolders are there, empty, because services want them.
var stageFolders = []string{
	"etc", "dev", "proc", "tmp", "run/sshd", "run/lock", "run/named", "run/apache2", "run/nginx", "var/tmp", "var/lib/nginx", "var/cache/nginx",
	"var/cache/bind", "var/log/nginx", "var/log/apache2", "var/log/httpd", "root",
}

// stageFiles are of this machine where a restored tree has none of its own: who is who,
// and what the loader needs.
var stageFiles = []string{
	"etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ld.so.cache", "etc/localtime", "etc/hosts", "etc/services", "etc/protocols",
	"dev/null", "dev/zero", "dev/urandom", "dev/random",
}

// stageRights are the capabilities a service's own check of its configuration uses; it
// has no others, whoever runs it (capabilities(7)).
var stageRights = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_SETUID, unix.CAP_SETGID,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN,
}

// enter builds the stage and makes it the root of this process. Nothing else of this
// machine can be reached afterwards.
func (s stage) enter() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := unix.Mount("tmpfs", s.root, "tmpfs", unix.MS_NOSUID, "mode=755,size=64m"); err != nil {
		return fmt.Errorf("mount a stage: %w", err)
	}
	for _, step := range []func() error{s.system, s.restored, s.files, s.leave} {
		if err := step(); err != nil {
			return err
		}
	}
	for right := uintptr(0); right <= unix.CAP_LAST_CAP; right++ {
		if !slices.Contains(stageRights, right) {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, right, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("drop capability %d: %w", right, err)
			}
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// system shows the folders of programs, and makes empty ones.
func (s stage) system() error {
	for _, name := range stageSystem {
		if err := s.show("/"+name, filepath.Join(s.root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range stageFolders {
		if err := os.MkdirAll(filepath.Join(s.root, name), 0o755); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Join(s.root, "tmp"), 0o1777)
}

// restored shows the trees.
func (s stage) restored() error {
	for _, tree := range s.trees {
		entries, err := os.ReadDir(tree)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() || slices.Contains(stageSystem, e.Name()) || slices.Contains([]string{"dev", "proc", "sys"}, e.Name()) {
				continue
			}
			if err := s.graft(filepath.Join(tree, e.Name()), filepath.Join(s.root, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// graft shows what lies in a restored folder in one of the stage, which may have
// something in it. What is no file, folder or link is left out.
func (s stage) graft(from, to string) error {
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, place := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		there, err := os.Lstat(place)
		switch {
		case err == nil && there.IsDir() && e.IsDir():
			err = s.graft(source, place)
		case err == nil:
		default:
			err = s.show(source, place)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// files shows single files of this machine.
func (s stage) files() error {
	for _, name := range stageFiles {
		place := filepath.Join(s.root, name)
		if _, err := os.Lstat(place); err == nil {
			continue
		}
		real, err := filepath.EvalSymlinks("/" + name)
		if err != nil {
			continue // this machine has none either
		}
		if err := s.show(real, place); err != nil {
			return err
		}
	}
	return nil
}

// show makes one file, folder or link appear at a place where nothing is yet, to be read.
func (s stage) show(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch mode := st.Mode(); {
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case mode.IsDir():
		err = os.Mkdir(to, 0o755)
	case mode.IsRegular() || mode&fs.ModeCharDevice != 0 && filepath.Dir(from) == "/dev":
		err = os.WriteFile(to, nil, 0o644)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show a restored entry: %w", err)
	}
	// Where the mount below is restricted in other ways, nobody unprivileged may change
	// that (mount_namespaces(7)); who owns the files can write them then, and loses a copy
	// that is thrown away.
	if err := unix.Mount("none", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID, ""); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("protect a restored entry: %w", err)
	}
	return nil
}

// leave makes the stage the root and takes the old one away.
func (s stage) leave() error {
	const old = ".old"
	if err := os.Mkdir(filepath.Join(s.root, old), 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(s.root, filepath.Join(s.root, old)); err != nil {
		return fmt.Errorf("go on the stage: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/"+old, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave this machine behind: %w", err)
	}
	return os.Remove("/" + old)
}
