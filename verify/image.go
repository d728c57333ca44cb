package verify

import (
	"context"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/sources/disk"
	"saoluu/sources/disk/inside"
	"saoluu/sources/system"
)

// image is a restored disk. Its other part, the layout, is a tree of texts.
type image struct {
	*files
	disk restoredPart
	size int64
	// stored are the blocks that came, and digest what they were when they came; empty
	// when somebody may have changed them since. Both are of an image in blocks only.
	stored *disk.Set
	digest string
	tenant *tenant        // as whom programs look at it
	inside *inside.Disk   // how its files are read
	system *inside.System // the operating system on it; nil: none was found
	layout *system.Layout // after which the disk was rebuilt; nil when it was saved as blocks
	boots  int            // how often it was booted
	spoilt bool           // damaged on purpose
}

// fetchImage puts an image together in the sandbox.
func (x *examination) fetchImage(ctx context.Context, part *restoredPart, progress func(restic.Progress)) (n int64, err error) {
	if err := os.MkdirAll(part.dir, 0o700); err != nil {
		return 0, boxError(part.dir, err)
	}
	part.file = filepath.Join(part.dir, sources.ImageFile)
	out, err := os.OpenFile(part.file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, boxError(part.dir, err)
	}
	defer out.Close()
	show := func(done, total int64) {
		if progress != nil {
			progress(restic.Progress{BytesDone: done, BytesTotal: total})
		}
	}
	read, err := ReadImage(ctx, x.tester.Engine, x.request.Repo, part.Snapshot, out, filepath.Join(x.sandbox.dir, "sums"), restic.DumpOptions{NoCache: true}, show)
	part.image = &read
	return read.Bytes, err
}

// newImage is the subject of a test of an image. Programs that look at it run as a user
// without rights, who gets the disk: its content was written by others.
func newImage(x *examination, parts []restoredPart) (_ subject, err error) {
	i := &image{files: &files{examination: x, parts: parts}}
	for _, p := range parts {
		if p.Part != sources.PartImage && p.layout == nil {
			continue
		}
		i.disk, i.layout = p, p.layout
		if p.image != nil {
			i.size, i.stored, i.digest = p.image.Size, p.image.Stored, p.image.Digest
		} else if p.layout != nil {
			i.size = p.layout.Disk.Size
		} else if st, err := os.Stat(p.file); err == nil {
			i.size, i.stored = st.Size(), disk.Full(st.Size())
		}
	}
	if i.disk.file == "" {
		return nil, fault.New(fault.Unknown, "restore test", errors.New("no disk in the copy"), "")
	}
	if i.tenant, err = x.settle("/usr/bin/"); err != nil {
		return nil, err
	}
	file := filepath.Join(i.tenant.dir, sources.ImageFile)
	if err := errors.Join(os.Rename(i.disk.file, file), os.Chmod(file, 0o600), i.tenant.give(file)); err != nil {
		return nil, err
	}
	i.disk.file = file
	for n := range parts {
		if parts[n].Part == i.disk.Part {
			parts[n].file = file
		}
	}
	return i, nil
}

// facts takes those of the restored disk by the code that took them of the source.
func (i *image) facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error) {
	if i.layout != nil {
		return i.systemFacts(ctx, want)
	}
	file, err := os.Open(i.disk.file)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	table, err := disk.ReadTable(file, i.size, i.sector())
	if err != nil {
		return nil, err
	}
	found := sources.TableFacts(table)
	add := func(kind, value string) {
		found = append(found, sources.Fact{Part: sources.PartImage, Kind: kind, Value: value})
	}
	add(sources.FactSize, strconv.FormatInt(i.size, 10))
	add(sources.FactSector, strconv.FormatInt(i.sector(), 10))
	add(sources.FactBlockSize, strconv.Itoa(disk.Block))
	if i.stored == nil {
		return found, nil // one stream: its digest was compared already
	}
	if i.digest == "" {
		if i.digest, err = disk.DigestOf(ctx, file, i.size, i.stored); err != nil {
			return nil, err
		}
	}
	add(sources.FactBlocks, strconv.FormatInt(i.stored.Count(), 10))
	add(sources.FactImage, i.digest)
	return found, nil
}

// damage turns one byte of the disk around, in a block that was stored.
func (i *image) damage(ctx context.Context, seed string, want []sources.Fact) (string, error) {
	if i.layout != nil {
		return i.damageSystem(ctx, seed, want)
	}
	h := fnv.New64a()
	h.Write([]byte(seed))
	at := int64(h.Sum64() % uint64(max(1, i.size)))
	if i.stored != nil {
		n := i.stored.Next(at / disk.Block)
		if n < 0 {
			n = i.stored.Next(0)
		}
		if n < 0 {
			return "", nil
		}
		at = n * disk.Block
	}
	i.digest, i.spoilt = "", true
	return "one byte of the disk changed", flipAt(i.disk.file, at)
}
