package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"saoluu/internal/fault"
)

// systemDirs are searched last: the PATH of a service or of cron often lacks
// the sbin folders.
const systemDirs = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Program returns the path of a program that an operator named: by its whole path,
// which must be a file that can be run, or by its name alone, as LookPath finds it.
// The error is fault.MissingTool.
func Program(name string) (string, error) {
	if !strings.Contains(name, "/") {
		return LookPath(name)
	}
	if st, err := os.Stat(name); err != nil || st.IsDir() || st.Mode().Perm()&0o111 == 0 || !filepath.IsAbs(name) {
		return "", fault.New(fault.MissingTool, fmt.Sprintf("program %q", name), errors.Join(errors.New("it cannot be run"), err),
			"write the whole path of a program, and make it executable")
	}
	return name, nil
}

// LookPath finds the program name in dirs, then along our PATH, then in the
// folders of the system, and returns its absolute path. Relative folders are
// passed over. When there is none, the error is fault.MissingTool with a hint
// naming the Debian package.
func LookPath(name string, dirs ...string) (string, error) {
	dirs = append(dirs[:len(dirs):len(dirs)], filepath.SplitList(os.Getenv("PATH"))...)
	return lookIn(name, append(dirs, filepath.SplitList(systemDirs)...))
}

func lookIn(name string, dirs []string) (string, error) {
	if name != filepath.Base(name) {
		return "", fault.New(fault.Usage, fmt.Sprintf("look for program %q", name), nil, "give a bare program name")
	}
	var denied error
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrPermission):
			denied = err
		case err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0:
			return path, nil
		}
	}
	return "", missing(name, denied)
}

// missing is the error for a program that is not there; err may be nil.
func missing(name string, err error) error {
	hint := fmt.Sprintf("install %q or put its folder on PATH", name)
	if pkg := debianPackage(name); pkg != "" {
		hint = "install it: apt-get install " + pkg
	}
	return fault.New(fault.MissingTool, fmt.Sprintf("program %q not found", name), err, hint)
}

// debianPackage names the package of Debian 12 and 13 that brings the program,
// as dpkg -S says; "" when unknown here.
func debianPackage(name string) string {
	switch name {
	case "pg_dump", "pg_dumpall", "pg_restore", "psql", "pg_basebackup", "pg_isready":
		return "postgresql-client"
	case "postgres", "initdb", "pg_ctl", "pg_config":
		return "postgresql"
	case "mariadb", "mariadb-dump", "mysqldump", "mariadb-admin":
		return "mariadb-client"
	case "mariadbd", "mariadb-install-db":
		return "mariadb-server-core"
	case "sqlite3", "restic", "cpio", "age", "tar", "gzip", "openssl", "redis-server", "nginx", "chromium":
		return name
	case "redis-cli", "redis-check-rdb":
		return "redis-tools"
	case "valkey-check-rdb":
		return "valkey-tools"
	case "qemu-img", "qemu-nbd", "qemu-io":
		return "qemu-utils"
	case "qemu-system-x86_64":
		return "qemu-system-x86"
	case "sfdisk":
		return "fdisk"
	case "grub-fstest":
		return "grub-common"
	case "fsck.fat", "mkfs.fat":
		return "dosfstools"
	case "mcopy":
		return "mtools"
	case "extlinux":
		return "extlinux"
	case "xfs_repair", "mkfs.xfs":
		return "xfsprogs"
	case "bwrap":
		return "bubblewrap"
	case "named-checkconf":
		return "bind9-utils"
	case "apachectl":
		return "apache2"
	case "visudo":
		return "sudo"
	case "nft":
		return "nftables"
	case "lvs", "vgs", "lvcreate", "lvremove":
		return "lvm2"
	case "btrfs", "mkfs.btrfs":
		return "btrfs-progs"
	case "ssh", "ssh-keygen", "sftp", "ssh-keyscan":
		return "openssh-client"
	case "sshd":
		return "openssh-server"
	case "debugfs", "e2fsck", "mkfs.ext2", "mkfs.ext3", "mkfs.ext4", "dumpe2fs", "chattr", "lsattr":
		return "e2fsprogs"
	case "lsblk", "blkid", "findmnt", "losetup", "mkswap", "mount", "umount", "setpriv", "prlimit":
		return "util-linux"
	case "systemctl", "systemd-analyze", "journalctl", "systemd-creds":
		return "systemd"
	default:
		return ""
	}
}
