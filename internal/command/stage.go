package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A stage is a root of the file system made of the system's programs and of restored
// trees, each at the place it has on the machine it was saved from: a program that looks
// at a configuration there finds what that names by its own name, and nothing of this
// machine. It is built in namespaces of the caller's making (unshare(1)).
type stage struct {
	root  string   // an empty folder
	trees []string // what was restored
	own   []string // paths that were saved: below /usr, nothing of this machine is shown there
	empty []string // folders to make, besides stageFolders
}

// stageSystem are the folders of this machine that programs come from. A restored tree
// does not replace them, but for what it has of stageOwn.
var stageSystem = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// stageNever are folders of the kernel, of which nothing is restored.
var stageNever = []string{"dev", "proc", "sys"}

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

// stageLinks are older names that services still use.
var stageLinks = map[string]string{"var/run": "/run", "var/lock": "/run/lock"}

// stageCode are the folders below /usr and /usr/local that hold the code of programs.
var stageCode = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec"}

// OnStage reports whether a program on a stage sees what was restored at a path and not
// what this machine has there, when these paths were saved.
func OnStage(path string, saved []string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if top == "usr" {
		return slices.ContainsFunc(stageOwn(saved), func(own string) bool { return within(path, own) })
	}
	return !slices.Contains(stageSystem, top) && !slices.Contains(stageNever, top)
}

// stageOwn returns the paths below /usr that a stage shows as they were restored. Of who
// saves all of it, that is where the administrator's own configurations lie.
func stageOwn(saved []string) []string {
	const local = "/usr/local/etc"
	var own []string
	for _, path := range saved {
		path = filepath.Clean(path)
		names := strings.Split(strings.TrimPrefix(path, "/usr/"), "/")
		if len(names) > 1 && names[0] == "local" {
			names = names[1:]
		}
		switch {
		case path != local && within(local, path):
			own = append(own, local)
		case within(path, "/usr") && !slices.Contains(stageCode, names[0]):
			own = append(own, path)
		}
	}
	return own
}

// within reports whether a path is a folder or lies in it.
func within(path, folder string) bool {
	folder = strings.TrimSuffix(folder, "/")
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// enter builds the stage and makes it the root of this process. Nothing else of this
// machine can be reached afterwards.
func (s stage) enter() error {
	runtime.LockOSThread() // rights are those of a thread, and the program takes this one's
	s.network()
	alone := aloneHere()
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := unix.Mount("tmpfs", s.root, "tmpfs", unix.MS_NOSUID, "mode=755,size=64m"); err != nil {
		return fmt.Errorf("mount a stage: %w", err)
	}
	for _, step := range []func() error{s.system, s.restored, s.empties, s.files, s.leave} {
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
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if alone {
		return ignoreOwners()
	}
	return nil
}

// system shows the folders of programs, and makes empty ones.
func (s stage) system() error {
	for _, name := range stageSystem {
		if err := s.programs("/"+name, stageOwn(s.own)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range stageFolders {
		if err := os.MkdirAll(filepath.Join(s.root, name), 0o755); err != nil {
			return err
		}
	}
	for name, to := range stageLinks {
		if err := os.Symlink(to, filepath.Join(s.root, name)); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Join(s.root, "tmp"), 0o1777)
}

// programs shows a folder of this machine, but for what a restored tree has instead.
func (s stage) programs(path string, own []string) error {
	below := slices.ContainsFunc(own, func(o string) bool { return within(o, path) })
	if st, err := os.Lstat(path); err != nil || !st.IsDir() || !below {
		return errors.Join(err, s.show(path, filepath.Join(s.root, path)))
	}
	if err := os.Mkdir(filepath.Join(s.root, path), 0o755); err != nil || slices.Contains(own, path) {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.programs(filepath.Join(path, e.Name()), own); err != nil {
			return err
		}
	}
	return nil
}

// instead shows what was restored in the place of something of this machine.
func (s stage) instead(tree, own string) error {
	from, to := filepath.Join(tree, own), filepath.Join(s.root, own)
	st, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // of another tree, or it is gone
	}
	if err != nil {
		return err
	}
	if led, err := leads(tree, filepath.Dir(own)); err != nil || led {
		return err // by a restored link, out of the tree perhaps: nothing is shown there
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if st.IsDir() {
		return s.graft(from, to)
	}
	return s.show(from, to)
}

// leads reports whether a link stands on the way to a folder of a tree.
func leads(tree, folder string) (bool, error) {
	root, err := filepath.EvalSymlinks(tree)
	if err != nil {
		return false, err
	}
	real, err := filepath.EvalSymlinks(filepath.Join(tree, folder))
	return real != filepath.Join(root, folder), err
}

// empties makes the folders that services write to and that were not restored.
func (s stage) empties() error {
	for _, dir := range s.empty {
		if err := os.MkdirAll(filepath.Join(s.root, filepath.Clean("/"+dir)), 0o755); err != nil {
			return fmt.Errorf("make an empty folder: %w", err)
		}
	}
	return nil
}

// restored shows the trees.
func (s stage) restored() error {
	for _, tree := range s.trees {
		for _, own := range stageOwn(s.own) {
			if err := s.instead(tree, own); err != nil {
				return err
			}
		}
		entries, err := os.ReadDir(tree)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() || slices.Contains(stageSystem, e.Name()) || slices.Contains(stageNever, e.Name()) {
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
