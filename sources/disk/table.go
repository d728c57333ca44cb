package disk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
)

// A Table is what divides a disk into partitions.
type Table struct {
	Kind       string      `json:"kind"`         // "gpt", "dos", or "none": the image is one file system, or nothing that is known
	ID         string      `json:"id,omitempty"` // GUID of the disk, or its 32 bits in hexadecimal
	Partitions []Partition `json:"partitions"`
	// Trouble says why the table is not to be relied on; empty when it is.
	Trouble string `json:"trouble,omitempty"`
}

// A Partition is a part of a disk; of a table of kind "none" there is one, the whole.
type Partition struct {
	Number int    `json:"number"` // as the kernel counts; 0 is the whole
	Start  int64  `json:"start"`  // bytes
	Size   int64  `json:"size"`   // bytes
	Type   string `json:"type,omitempty"`
	ID     string `json:"id,omitempty"`   // GUID of the partition
	Name   string `json:"name,omitempty"` // of a GPT
	Boot   bool   `json:"boot,omitempty"` // marked active, of a DOS table
	System System `json:"system"`
}

// End is the byte behind the partition.
func (p Partition) End() int64 { return p.Start + p.Size }

// String is all of the partition in one line, as facts hold it.
func (p Partition) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic("partition: " + err.Error()) // texts and numbers only
	}
	return string(text)
}

// ReadTable reads the partition table of an image, and what each partition holds.
// Nonsense is no error but a Trouble: whatever the disk holds can be saved all the same.
func ReadTable(r io.ReaderAt, size, sector int64) (Table, error) {
	whole := Partition{Size: size}
	var err error
	if whole.System, err = identify(r, 0, size); err != nil {
		return Table{}, err
	}
	none := Table{Kind: "none", Partitions: []Partition{whole}}
	if whole.System.Type != "" {
		return none, nil // boot sectors of FAT and NTFS look like a table
	}
	t, err := readDOS(r, size, sector)
	if err != nil {
		return Table{}, err
	}
	if t.Kind == "gpt" {
		if t, err = readGPT(r, size, sector); err != nil {
			return Table{}, err
		}
	}
	if t.Kind == "none" {
		return none, nil
	}
	t.check(size)
	for n := range t.Partitions {
		p := &t.Partitions[n]
		if t.Trouble != "" {
			continue
		}
		if p.System, err = identify(r, p.Start, p.Size); err != nil {
			return Table{}, err
		}
	}
	return t, nil
}

// check finds partitions that cannot be so.
func (t *Table) check(size int64) {
	sorted := slices.Clone(t.Partitions)
	slices.SortFunc(sorted, func(a, b Partition) int { return cmp.Compare(a.Start, b.Start) })
	end := int64(0)
	for _, p := range sorted {
		switch {
		case t.Trouble != "":
			return
		case p.Size <= 0 || p.Start <= 0:
			t.Trouble = fmt.Sprintf("partition %d has no place", p.Number)
		case p.End() > size:
			t.Trouble = fmt.Sprintf("partition %d ends at byte %d, and the disk at %d", p.Number, p.End(), size)
		case p.Start < end:
			t.Trouble = fmt.Sprintf("partition %d overlaps another one", p.Number)
		}
		end = p.End()
	}
}

// Types of DOS partitions that mean something to us.
const (
	dosGPT       = 0xee
	dosExtended  = 0x05
	dosExtended2 = 0x0f
	dosLinuxExt  = 0x85
)

// maxLogical bounds the chain of logical partitions, which may lead in a circle.
const maxLogical = 128

// readDOS reads a master boot record and the logical partitions.
func readDOS(r io.ReaderAt, size, sector int64) (Table, error) {
	mbr, err := sectorAt(r, 0, size)
	if mbr == nil || err != nil {
		return Table{Kind: "none"}, err
	}
	t := Table{Kind: "dos", ID: fmt.Sprintf("%08x", binary.LittleEndian.Uint32(mbr[440:]))}
	var extended int64
	for n := range 4 {
		e := mbr[446+16*n:]
		if e[0] != 0 && e[0] != 0x80 {
			return Table{Kind: "none"}, nil
		}
		kind := e[4]
		start, length := int64(binary.LittleEndian.Uint32(e[8:]))*sector, int64(binary.LittleEndian.Uint32(e[12:]))*sector
		switch kind {
		case 0:
			continue
		case dosGPT:
			return Table{Kind: "gpt"}, nil
		case dosExtended, dosExtended2, dosLinuxExt:
			extended = start
			continue // its bytes between the logical ones are kept like any gap
		}
		t.Partitions = append(t.Partitions, Partition{Number: n + 1, Start: start, Size: length, Type: fmt.Sprintf("%02x", kind), Boot: e[0] == 0x80})
	}
	if extended > 0 {
		err = t.logical(r, extended, size, sector)
	}
	if len(t.Partitions) == 0 && t.Trouble == "" {
		return Table{Kind: "none"}, err
	}
	return t, err
}

// logical follows the chain of logical partitions.
func (t *Table) logical(r io.ReaderAt, extended, size, sector int64) error {
	at := extended
	for n := range maxLogical {
		ebr, err := sectorAt(r, at, size)
		if err != nil {
			return err
		}
		if ebr == nil {
			t.Trouble = fmt.Sprintf("the chain of logical partitions breaks at byte %d", at)
			return nil
		}
		e, next := ebr[446:], ebr[462:]
		if e[4] != 0 {
			start := at + int64(binary.LittleEndian.Uint32(e[8:]))*sector
			t.Partitions = append(t.Partitions, Partition{Number: 5 + n, Start: start, Size: int64(binary.LittleEndian.Uint32(e[12:])) * sector, Type: fmt.Sprintf("%02x", e[4]), Boot: e[0] == 0x80})
		}
		step := int64(binary.LittleEndian.Uint32(next[8:])) * sector
		if next[4] == 0 || step == 0 {
			return nil
		}
		at = extended + step
	}
	t.Trouble = "the chain of logical partitions does not end"
	return nil
}

// sectorAt reads 512 bytes with the signature of a boot record; nil without it.
func sectorAt(r io.ReaderAt, at, size int64) ([]byte, error) {
	if at+512 > size {
		return nil, nil
	}
	b := make([]byte, 512)
	if _, err := r.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("read at offset %d: %w", at, err)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil, nil
	}
	return b, nil
}

// readGPT reads a GUID partition table, or its spare at the end of the disk (UEFI
// specification, "GUID Partition Table (GPT) Disk Layout").
func readGPT(r io.ReaderAt, size, sector int64) (Table, error) {
	t, err := readHeader(r, sector, size, sector)
	if err == nil {
		return t, nil
	}
	spare, spareErr := readHeader(r, size-sector, size, sector)
	if spareErr == nil {
		return spare, nil
	}
	if !errors.Is(err, errTable) {
		return t, err
	}
	return Table{Kind: "gpt", Trouble: "both copies of the partition table are damaged: " + err.Error()}, nil
}

// errTable marks a table that was read and makes no sense.
var errTable = errors.New("partition table")

// Bounds of a table: what the specification allows is far more than anybody has.
const (
	maxEntries   = 1024
	maxEntrySize = 4096
)

func readHeader(r io.ReaderAt, at, size, sector int64) (Table, error) {
	h := make([]byte, 92)
	if at+sector > size || at < 0 {
		return Table{}, fmt.Errorf("%w: the disk is too small", errTable)
	}
	if _, err := r.ReadAt(h, at); err != nil {
		return Table{}, fmt.Errorf("read at offset %d: %w", at, err)
	}
	sum := binary.LittleEndian.Uint32(h[16:])
	clear(h[16:20])
	if string(h[:8]) != "EFI PART" || binary.LittleEndian.Uint32(h[12:]) != 92 || crc32.ChecksumIEEE(h) != sum {
		return Table{}, fmt.Errorf("%w: its header is damaged", errTable)
	}
	first, count, each := int64(binary.LittleEndian.Uint64(h[72:]))*sector, int64(binary.LittleEndian.Uint32(h[80:])), int64(binary.LittleEndian.Uint32(h[84:]))
	if count > maxEntries || each < 128 || each > maxEntrySize || first < 0 || first > size-count*each {
		return Table{}, fmt.Errorf("%w: it has %d entries of %d bytes at byte %d", errTable, count, each, first)
	}
	entries := make([]byte, count*each)
	if _, err := r.ReadAt(entries, first); err != nil {
		return Table{}, fmt.Errorf("read at offset %d: %w", first, err)
	}
	if crc32.ChecksumIEEE(entries) != binary.LittleEndian.Uint32(h[88:]) {
		return Table{}, fmt.Errorf("%w: its entries are damaged", errTable)
	}
	t := Table{Kind: "gpt", ID: guid(h[56:])}
	for n := range count {
		e := entries[n*each:]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		start, last := int64(binary.LittleEndian.Uint64(e[32:])), int64(binary.LittleEndian.Uint64(e[40:]))
		t.Partitions = append(t.Partitions, Partition{
			Number: int(n) + 1, Start: start * sector, Size: (last - start + 1) * sector, Type: guid(e), ID: guid(e[16:]), Name: utf16Name(e[56:128]),
		})
	}
	return t, nil
}

// guid writes 16 bytes as people do: the first three numbers are little-endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

func utf16Name(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		units = append(units, binary.LittleEndian.Uint16(b[i:]))
	}
	name, _, _ := strings.Cut(string(utf16.Decode(units)), "\x00")
	return name
}
