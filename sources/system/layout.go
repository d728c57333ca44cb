// Package system says what must be known of a system, beside its files, to build a disk
// from them that boots: the disk, what the boot loader keeps outside of any file, and
// which file system goes where. It is found out when a system is saved file by file and
// read when its disk is rebuilt; between the two it lies as layout.json in a part of the
// backup, so that it can be read without saoluu too.
package system

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// LayoutFile is the name of a Layout in the part of a backup that holds it. The files
// that it names lie beside it.
const LayoutFile = "layout.json"

// LayoutVersion is that of the form of a Layout. A reader refuses a newer one.
const LayoutVersion = 1

// Firmware that started the machine when it was saved.
const (
	FirmwareBIOS = "bios"
	FirmwareUEFI = "uefi"
)

// Boot loaders that were recognised, by what they leave on the disk.
const (
	LoaderGRUBBIOS    = "grub-bios"    // its core image lies in Code
	LoaderGRUBEFI     = "grub-efi"     // its files lie on the EFI system partition
	LoaderSystemdBoot = "systemd-boot" // its files lie on the EFI system partition
	LoaderExtlinux    = "extlinux"     // must be installed anew: it knows the blocks of its files
	LoaderUnknown     = "unknown"
)

// A Layout is all of a system that is not in its files.
type Layout struct {
	Version int `json:"version"`
	// Root is the folder that was the root of the system where it was saved: "/" for the
	// machine's own.
	Root string `json:"root"`
	// Consistency says how the system was held still: snapshot, crash or offline.
	Consistency string `json:"consistency"`
	// Firmware is one of the Firmware… words: how the machine was started; of a system
	// that is not the machine's own, what its disk is made for.
	Firmware string `json:"firmware"`
	// Loaders are the Loader… words of what would boot the disk, the likeliest first. A
	// disk may hold loaders of both firmwares. LoaderUnknown stands alone.
	Loaders []string `json:"loaders"`
	Disk    Disk     `json:"disk"`
	// Code is what boot loaders keep outside of file systems.
	Code        []Code       `json:"code"`
	FileSystems []FileSystem `json:"file_systems"` // in the order of Partition, then Volume
	SwapFiles   []SwapFile   `json:"swap_files"`   // left out of the files; to be made anew
	OS          OS           `json:"os"`
	// Uncovered names what belongs to the system or its disk and is in no part of the
	// backup, such as a file system of another disk.
	Uncovered []Uncovered `json:"uncovered"`
}

// A Disk is the one that holds the root of the system.
type Disk struct {
	// Path is the device, or the file behind a loop device.
	Path   string `json:"path"`
	Size   int64  `json:"size"`   // bytes
	Sector int64  `json:"sector"` // bytes of a logical sector, in which Dump counts
	// Table is what divides the disk; of kind "none" a file system takes all of it, which
	// is then Partition 0.
	Table disk.Table `json:"table"`
	// Dump is what "sfdisk --dump" says of the disk, for "sfdisk" to make it so again;
	// empty for a table of kind "none".
	Dump string `json:"dump,omitempty"`
	// Groups are the LVM volume groups whose only physical volume lies on this disk.
	Groups []Group `json:"groups"`
}

// A Group is a volume group of LVM on one partition.
type Group struct {
	Name      string `json:"name"`
	UUID      string `json:"uuid"`
	Partition int    `json:"partition"`
	Extent    int64  `json:"extent"` // bytes
}

// What a Code is.
const (
	CodeRecord    = "boot record" // the first 446 bytes of the disk: the table begins behind
	CodeGap       = "gap"         // between the first sector, or a GPT, and the first partition: GRUB's core image on MBR disks
	CodeBIOSBoot  = "bios boot"   // a whole partition: GRUB's core image on GPT disks
	CodeESP       = "efi"         // the whole EFI system partition, where it was not mounted: its files are then not in the tree
	CodePartition = "partition"   // what a file system leaves free at its start: 1 KiB of ext, 64 KiB of btrfs
)

// Code is a run of bytes of the disk that is in no file of the tree, kept in a file of its own.
// Zeros at its end are not kept.
type Code struct {
	What      string `json:"what"` // one of the Code… words
	Name      string `json:"name"` // of the file beside the layout
	Partition int    `json:"partition,omitempty"`
	Offset    int64  `json:"offset"` // bytes from the start of the disk
	Length    int64  `json:"length"` // bytes, as many as the file has
	SHA256    string `json:"sha256"` // of the file
}

// A FileSystem is one of the disk, or its swap.
type FileSystem struct {
	// Partition is the number in the table; 0 where the disk has none.
	Partition int `json:"partition"`
	// Volume is the LVM volume that the file system lies in, as group/name; Partition is
	// then that of the group. Empty without LVM.
	Volume string `json:"volume,omitempty"`
	// VolumeSize is the bytes of Volume.
	VolumeSize int64  `json:"volume_size,omitempty"`
	Type       string `json:"type"` // as blkid says: ext2, ext3, ext4, xfs, btrfs, vfat, swap; others are not rebuilt
	UUID       string `json:"uuid,omitempty"`
	Label      string `json:"label,omitempty"`
	// Mount is where in the system it is mounted: "/", "/boot", "/boot/efi". Empty for
	// swap, for what is not mounted, and for btrfs where only subvolumes are.
	Mount string `json:"mount,omitempty"`
	// Options are those of the system's fstab; empty where it does not stand there.
	Options string `json:"options,omitempty"`
	// Made are the settings that decide whether the loader can read it, in the words of
	// the program that makes it: "mkfs.ext4 -O" features, block size in bytes, and so on.
	Made Made  `json:"made"`
	Size int64 `json:"size"` // bytes
	Used int64 `json:"used"` // bytes; 0 when it is not mounted
	// Saved reports whether its files are in the backup.
	Saved bool `json:"saved"`
	// Subvolumes of a btrfs, by their numbers: those that were saved, or are mounted.
	Subvolumes []Subvolume `json:"subvolumes,omitempty"`
	// Default is the number of the btrfs subvolume that is mounted when none is named; 5
	// is the top of the file system, whatever it is called.
	Default uint64 `json:"default,omitempty"`
}

// Made is how a file system was made, as far as its own program tells.
type Made struct {
	Block  int64 `json:"block,omitempty"`  // bytes of a block, or of a FAT's cluster
	Inode  int64 `json:"inode,omitempty"`  // bytes of an inode, of ext and xfs
	Inodes int64 `json:"inodes,omitempty"` // of ext: how many files it has room for
	// Features are those of ext as dumpe2fs lists them, or those of XFSFeatures that an XFS
	// has, as mkfs.xfs names them.
	Features []string `json:"features,omitempty"`
	FAT      int      `json:"fat,omitempty"` // 12, 16 or 32
}

// A Subvolume is a part of a btrfs that is mounted by itself, or lies inside of one that
// is. Its files stand in the tree at At.
type Subvolume struct {
	ID   uint64 `json:"id"`
	Path string `json:"path"` // from the top of the file system, without a slash in front: "@", "@home"; empty for the top
	// At is where in the system its files are: its mount point, or its place inside of
	// another subvolume. Empty when no path of the system leads to it: it was not saved.
	At      string `json:"at,omitempty"`
	Mounted bool   `json:"mounted"`           // by itself, at At
	Options string `json:"options,omitempty"` // of fstab, for At
}

// A SwapFile is a file that is used as swap.
type SwapFile struct {
	Path string `json:"path"` // in the system
	Size int64  `json:"size"` // bytes
}

// OS is what the system says of itself.
type OS struct {
	ID      string   `json:"id,omitempty"` // of os-release(5)
	Version string   `json:"version,omitempty"`
	Name    string   `json:"name,omitempty"`    // PRETTY_NAME
	Kernels []string `json:"kernels,omitempty"` // versions with modules below /lib/modules, sorted
	Running string   `json:"running,omitempty"` // kernel that runs, where Root is the machine's own
	Arch    string   `json:"arch,omitempty"`    // as uname says, of the machine
}

// WhyHistory is why a snapshot that a system keeps of itself is not saved.
const WhyHistory = "a snapshot that the system keeps of itself"

// Uncovered is something that a rebuilt system will lack.
type Uncovered struct {
	What string `json:"what"` // a mount point, a device, a path
	Why  string `json:"why"`
}

// At returns the file system that is mounted at a folder of the system, or whose
// subvolume is; nil when there is none.
func (l *Layout) At(folder string) *FileSystem {
	for n := range l.FileSystems {
		f := &l.FileSystems[n]
		if f.Mount == folder || slices.ContainsFunc(f.Subvolumes, func(s Subvolume) bool { return s.Mounted && s.At == folder }) {
			return f
		}
	}
	return nil
}

// Encode writes a layout as it is kept.
func (l *Layout) Encode() ([]byte, error) {
	l.Version = LayoutVersion
	text, err := json.MarshalIndent(l, "", "  ")
	return append(text, '\n'), err
}

// Decode reads a layout. The error is fault.Damaged for one that is none, and
// fault.Refused for one of a later version.
func Decode(text []byte) (*Layout, error) {
	var l Layout
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&l); err != nil {
		return nil, fault.New(fault.Damaged, LayoutFile, err, "restore an older run")
	}
	if l.Version > LayoutVersion || l.Version < 1 {
		return nil, fault.New(fault.Refused, LayoutFile, fmt.Errorf("it has version %d, and this program knows up to %d", l.Version, LayoutVersion), "use the version of saoluu that wrote it, or a later one")
	}
	return &l, nil
}
