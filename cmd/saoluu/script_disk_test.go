package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// diskCommand keeps disks that can be plugged in and pulled out: files with file
// systems of real UUIDs, on loop devices.
//
//	disk make NAME [SIZE]   makes one with ext4 and plugs it in
//	disk plug NAME          its device is in $DISK_NAME from now on
//	disk pull NAME          takes it away although it may be mounted
//	disk kill NAME          its file system fails as when the plug is pulled in use
//	disk clone NAME OTHER   OTHER gets the content of NAME, which is not plugged in
//	disk owned FILE         what the script mounts of FILE by loop devices is taken away at its end
//	disk bootable FILE KIND makes a file of a disk that boots: scripts/boot-disk.sh
func diskCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: disk make|plug|pull|kill|clone|owned|bootable NAME")
	}
	if os.Getuid() != 0 {
		ts.Fatalf("disks are mounted by root; run as root, or leave these scripts out")
	}
	image := ts.MkAbs(filepath.Join(".disks", args[1]))
	switch args[0] {
	case "make":
		size := "48M"
		if len(args) > 2 {
			size = args[2]
		}
		ts.Check(os.MkdirAll(filepath.Dir(image), 0o700))
		tool(ts, "truncate", "--size="+size, image)
		tool(ts, "mkfs.ext4", "-q", image)
		ts.Defer(func() { pullDisk(ts, image) })
		plugDisk(ts, args[1], image)
	case "bootable":
		script, err := filepath.Abs("../../scripts/boot-disk.sh")
		ts.Check(err)
		tool(ts, script, args[2], ts.MkAbs(args[1]))
	case "owned":
		ts.Defer(func() { pullDisk(ts, ts.MkAbs(args[1])) })
	case "clone":
		tool(ts, "cp", image, ts.MkAbs(filepath.Join(".disks", args[2])))
		ts.Defer(func() { pullDisk(ts, ts.MkAbs(filepath.Join(".disks", args[2]))) })
	case "plug":
		plugDisk(ts, args[1], image)
	case "pull":
		pullDisk(ts, image)
	case "kill":
		mounts := mountsOf(ts, ts.Getenv("DISK_"+args[1]))
		if len(mounts) == 0 {
			ts.Fatalf("disk %s is not mounted", args[1])
		}
		dir, err := os.Open(mounts[0])
		ts.Check(err)
		const shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, kernel's fs/ext4/ext4.h
		ts.Check(errors.Join(unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, noLogFlush), dir.Close()))
	default:
		ts.Fatalf("unknown: disk %s", args[0])
	}
}

func plugDisk(ts *testscript.TestScript, name, image string) {
	ts.Setenv("DISK_"+name, tool(ts, "losetup", "--find", "--show", image))
}

func pullDisk(ts *testscript.TestScript, image string) {
	for line := range strings.Lines(tool(ts, "losetup", "--noheadings", "--output", "NAME", "--associated", image)) {
		device := strings.TrimSpace(line)
		for _, at := range mountsOf(ts, device) {
			ts.Check(unix.Unmount(at, unix.MNT_DETACH))
		}
		tool(ts, "losetup", "--detach", device)
	}
}

// mountsOf lists where a device is mounted, the newest first.
func mountsOf(ts *testscript.TestScript, device string) []string {
	table, err := os.ReadFile("/proc/self/mounts")
	ts.Check(err)
	var mounts []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == device {
			mounts = append(mounts, f[1])
		}
	}
	slices.Reverse(mounts)
	return mounts
}

// tool runs a program of the system and returns what it prints.
func tool(ts *testscript.TestScript, argv ...string) string {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		ts.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
