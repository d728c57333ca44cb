package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// nodes is a read-only tree whose nodes are known by their number. All times and
// owners in it are zero.
type nodes interface {
	// attr tells whether a node is a folder, and how long it is as a file.
	attr(id uint64) (folder bool, length int64)
	// child is the node of a name in a folder; 0 when there is none.
	child(folder uint64, name string) uint64
	// list yields the nodes of a folder in their order, without the first skip.
	list(folder uint64, skip int, yield func(name string, id uint64) bool)
	// read fills buf from a file. What it returns besides is the kernel's number of an error.
	read(id uint64, offset int64, buf []byte) (int, syscall.Errno)
}

// rootNode is the number of the root of every tree (libfuse, FUSE_ROOT_ID).
const rootNode = fuse.FUSE_ROOT_ID

// forever is for how long the kernel may remember what it was told: a tree does not
// change while it is mounted.
const forever = 24 * time.Hour

// server answers the kernel. It does not keep open files: the kernel then asks for
// names and bytes alone.
type server struct {
	fuse.RawFileSystem
	nodes nodes
}

func (s *server) fill(id uint64, a *fuse.Attr) {
	folder, length := s.nodes.attr(id)
	a.Ino, a.Nlink, a.Mode, a.Size = id, 1, syscall.S_IFREG|0o400, uint64(length)
	if folder {
		a.Nlink, a.Mode, a.Size = 2, syscall.S_IFDIR|0o500, 0
	}
}

func (s *server) entry(id uint64, out *fuse.EntryOut) {
	out.NodeId, out.Generation = id, 1
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	s.fill(id, &out.Attr)
}

func (s *server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(forever)
	s.fill(in.NodeId, &out.Attr)
	return fuse.OK
}

func (s *server) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	id := s.nodes.child(in.NodeId, name)
	if id == 0 {
		return fuse.ENOENT
	}
	s.entry(id, out)
	return fuse.OK
}

func (s *server) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

func (s *server) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	next := in.Offset
	s.nodes.list(in.NodeId, int(in.Offset), func(name string, id uint64) bool {
		next++
		return out.AddDirEntry(fuse.DirEntry{Mode: s.mode(id), Name: name, Ino: id, Off: next})
	})
	return fuse.OK
}

func (s *server) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	next := in.Offset
	s.nodes.list(in.NodeId, int(in.Offset), func(name string, id uint64) bool {
		next++
		e := out.AddDirLookupEntry(fuse.DirEntry{Mode: s.mode(id), Name: name, Ino: id, Off: next})
		if e == nil {
			return false
		}
		s.entry(id, e)
		return true
	})
	return fuse.OK
}

func (s *server) mode(id uint64) uint32 {
	if folder, _ := s.nodes.attr(id); folder {
		return syscall.S_IFDIR
	}
	return syscall.S_IFREG
}

// Open and the like answer that they are not there, after which the kernel does
// without them.
func (s *server) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.ENOSYS }

func (s *server) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

func (s *server) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

func (s *server) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.NameLen = Block, 255
	return fuse.OK
}

func (s *server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, errno := s.nodes.read(in.NodeId, int64(in.Offset), buf)
	if errno != 0 {
		return nil, fuse.Status(errno)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// fsName is what a mount of ours is called in the mount table.
const fsName = "saoluu"

// A Mounted is a tree that other programs can read below its folder.
type Mounted struct {
	Dir    string
	server *fuse.Server
	detach func() error
}

// mount shows a tree at dir, an empty folder. It is not mounted read-only, because
// some programs open for writing what they only read; writing is answered with an
// error. The error is fault.MissingTool when
// this machine or this service lets nobody do so.
func mount(ctx context.Context, dir string, n nodes) (*Mounted, error) {
	detach := func() error { return Detach(context.WithoutCancel(ctx), dir) }
	s := &server{RawFileSystem: fuse.NewDefaultRawFileSystem(), nodes: n}
	served, err := fuse.NewServer(s, dir, &fuse.MountOptions{
		DirectMount: true, DirectMountStrict: os.Geteuid() == 0, DirectMountFlags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
		Options: []string{"nosuid", "nodev", "noexec"}, FsName: fsName, Name: fsName,
		MaxBackground: 64, DisableXAttrs: true, IgnoreSecurityLabels: true,
	})
	if err != nil {
		return nil, mountError(err)
	}
	go served.Serve()
	if err := served.WaitMount(); err != nil {
		return nil, errors.Join(mountError(err), detach())
	}
	return &Mounted{Dir: dir, server: served, detach: detach}, nil
}

// CanShow tells whether images can be shown as blocks here, as far as can be seen
// without mounting anything.
func CanShow() error {
	file, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return mountError(err)
	}
	if os.Geteuid() != 0 {
		_, err = command.LookPath("fusermount3")
	}
	return errors.Join(err, file.Close())
}

func mountError(err error) error {
	return fault.New(fault.MissingTool, "show an image as blocks", fmt.Errorf("FUSE cannot be used: %w", err),
		"let saoluu open /dev/fuse, and mount as root or install the package fuse3")
}

// Unmount takes the tree away. It may be called twice.
func (m *Mounted) Unmount() error {
	if m == nil || m.server == nil {
		return nil
	}
	served := m.server
	m.server = nil
	if served.Unmount() == nil {
		return nil
	}
	return m.detach() // somebody looks into it still: it is gone when they leave
}

// Detach takes away every mount of ours at dir and below, used or not. It clears what
// a process left that was killed; where there is nothing it does nothing.
func Detach(ctx context.Context, dir string) error {
	all, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		ours := i.FSType == "fuse."+fsName
		return !ours || i.Mountpoint != dir && !strings.HasPrefix(i.Mountpoint, dir+"/"), false
	})
	if err != nil {
		return err
	}
	var problems []error
	for _, m := range slices.Backward(all) {
		err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH)
		if errors.Is(err, unix.EPERM) {
			err = unmountAsUser(ctx, m.Mountpoint)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) { // it went meanwhile
			problems = append(problems, &os.PathError{Op: "unmount", Path: m.Mountpoint, Err: err})
		}
	}
	return errors.Join(problems...)
}

// unmountAsUser has fusermount3 take away a mount that it made for us.
func unmountAsUser(ctx context.Context, dir string) error {
	program, err := command.LookPath("fusermount3")
	if err != nil {
		return err
	}
	_, err = command.Run(ctx, command.Cmd{Argv: []string{program, "-u", "-z", "--", dir}, Env: []string{"LC_ALL=C"}})
	return err
}
