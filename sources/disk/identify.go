package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A System is what a partition holds.
type System struct {
	Type string `json:"type"`           // as blkid calls it; empty: not known to us
	UUID string `json:"uuid,omitempty"` // as blkid writes it
}

// Types of systems.
const (
	typeExt   = "ext"
	typeXFS   = "xfs"
	typeBtrfs = "btrfs"
	typeSwap  = "swap"
	typeNTFS  = "ntfs"
	typeVFAT  = "vfat"
	typeLUKS  = "crypto_LUKS"
	typeLVM   = "LVM2_member"
)

// identify looks for the marks by which file systems are known (libblkid,
// superblocks): enough of them to know which tool can tell their free space.
func identify(r io.ReaderAt, start, size int64) (System, error) {
	head := make([]byte, min(size, 68<<10))
	n, err := r.ReadAt(head, start)
	if n < len(head) {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("the image ends there")
		}
		return System{}, fmt.Errorf("read at offset %d: %w", start+int64(n), err)
	}
	has := func(at int, mark string) bool {
		return at+len(mark) <= len(head) && string(head[at:at+len(mark)]) == mark
	}
	uuid := func(at int) string {
		b := head[at : at+16]
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	switch {
	case has(1080, "\x53\xef"):
		return System{extType(head), uuid(1024 + 104)}, nil
	case has(0, "XFSB"):
		return System{typeXFS, uuid(32)}, nil
	case has(65536+64, "_BHRfS_M"):
		return System{typeBtrfs, uuid(65536 + 32)}, nil
	case has(4086, "SWAPSPACE2"):
		return System{typeSwap, uuid(1024 + 12)}, nil
	case has(3, "NTFS    "):
		return System{typeNTFS, fmt.Sprintf("%016X", binary.LittleEndian.Uint64(head[72:]))}, nil
	case has(82, "FAT32   "):
		return System{typeVFAT, fatID(head[67:])}, nil
	case has(54, "FAT12   "), has(54, "FAT16   "), has(54, "FAT     "):
		return System{typeVFAT, fatID(head[39:])}, nil
	case has(0, "LUKS\xba\xbe"):
		return System{Type: typeLUKS}, nil
	case has(512, "LABELONE"), has(0, "LABELONE"):
		return System{Type: typeLVM}, nil
	}
	return System{}, nil
}

func fatID(b []byte) string {
	return fmt.Sprintf("%04X-%04X", binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint16(b))
}

// Features that tell the generations apart (Linux documentation, "ext4: The Super Block").
const (
	extJournal   = 0x4                 // compatible
	extNeedsWork = 0x4                 // incompatible: the journal holds what is not in its place yet
	ext4Only     = 0x40 | 0x80 | 0x200 // incompatible: extents, 64bit, flexible groups
)

func extType(head []byte) string {
	compatible, incompatible := binary.LittleEndian.Uint32(head[1024+92:]), binary.LittleEndian.Uint32(head[1024+96:])
	switch {
	case incompatible&ext4Only != 0:
		return typeExt + "4"
	case compatible&extJournal != 0:
		return typeExt + "3"
	}
	return typeExt + "2"
}
