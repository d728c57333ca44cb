package rebuild

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// clearing is how much is cleared at both ends of a device and at the start of each
// partition, in bytes: what lay there before must not be taken for something of ours.
const clearing = 1 << 20

// clear gives a file its size, and takes away what a device held where it is looked for.
func (d *Disk) clear(context.Context) error {
	st, err := d.out.Stat()
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeDevice == 0 {
		return writeError(d.out.Truncate(d.layout.Disk.Size))
	}
	room, err := d.out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if room < d.layout.Disk.Size {
		return fault.New(fault.NoSpace, op, fmt.Errorf("the device has %d bytes, and the disk had %d", room, d.layout.Disk.Size), "choose a device that is large enough")
	}
	if sector, err := unix.IoctlGetInt(int(d.out.Fd()), unix.BLKSSZGET); err != nil || int64(sector) != d.layout.Disk.Sector {
		return fault.New(fault.Refused, op, errors.Join(fmt.Errorf("the device has sectors of %d bytes, and the disk had %d", sector, d.layout.Disk.Sector), err),
			"choose another device: a partition table counts in sectors")
	}
	places := []int64{0, room - clearing}
	for _, p := range d.layout.Disk.Table.Partitions {
		places = append(places, p.Start)
	}
	zeros := make([]byte, clearing)
	for _, at := range places {
		if at = max(at, 0); at >= room {
			continue
		}
		if _, err := d.out.WriteAt(zeros[:min(clearing, room-at)], at); err != nil {
			return writeError(err)
		}
	}
	return nil
}

// divide writes the partition table.
func (d *Disk) divide(ctx context.Context) error {
	if d.layout.Disk.Table.Kind == "none" {
		return nil
	}
	whole, err := attach(d.out, 0, 0, d.layout.Disk.Sector, true)
	if err != nil {
		return err
	}
	err = run(ctx, strings.NewReader(d.layout.Disk.Dump), "sfdisk", "--quiet", "--force", "--no-reread", "--no-tell-kernel", "--wipe", "never", whole.Name())
	// Nothing of it may be held back: partitions are written to through devices of their own.
	return errors.Join(err, whole.Sync(), whole.Close())
}

// putCode writes what boot loaders keep outside of partitions with file systems.
func (d *Disk) putCode(dir string) error {
	for _, c := range d.layout.Code {
		if c.What == system.CodePartition {
			continue // when its file system is made
		}
		if err := putCode(d.out, c.Offset, dir, c); err != nil {
			return err
		}
	}
	return nil
}

// putCode copies saved code to a place of a disk or partition, and fails for one that is
// not what was saved.
func putCode(to *os.File, at int64, dir string, c system.Code) error {
	file, err := os.OpenFile(filepath.Join(dir, c.Name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // nobody may write into a pipe
	if err != nil {
		return fault.New(fault.Damaged, op, fmt.Errorf("the boot code %q: %w", c.Name, err), "restore an older run")
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(io.NewOffsetWriter(to, at), sum), io.LimitReader(file, c.Length))
	if err != nil {
		return writeError(err)
	}
	if n != c.Length || hex.EncodeToString(sum.Sum(nil)) != c.SHA256 {
		return fault.New(fault.Damaged, op, fmt.Errorf("the boot code %q is not what was saved", c.Name), "restore an older run")
	}
	return nil
}

// plainEnv is the environment of the programs that are run here.
var plainEnv = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1"}

// programLimit bounds one program: making the largest file systems takes minutes.
const programLimit = time.Hour

// run runs a program of this machine as root.
func run(ctx context.Context, in io.Reader, argv ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, programLimit, fault.New(fault.TimedOut, op, fmt.Errorf("%s: over its limit of %s", argv[0], programLimit), "see whether the disk can be written to"))
	defer cancel()
	program, err := command.LookPath(argv[0])
	if err != nil {
		return err
	}
	res, err := command.Run(ctx, command.Cmd{Argv: append([]string{program}, argv[1:]...), Env: plainEnv, Stdin: in})
	var exit *command.ExitError
	if errors.As(err, &exit) {
		return fault.New(fault.Unknown, op, fmt.Errorf("%w: %s", err, cmp.Or(strings.TrimSpace(res.Stderr), "it says nothing")), "see whether this "+argv[0]+" is as new as that of the saved system")
	}
	return err
}
