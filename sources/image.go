package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
	"saoluu/sources/guest"
	"saoluu/sources/system"
)

// Parts of an image.
const (
	PartImage  = "image"  // the blocks, as the package disk writes them, or one stream
	PartLayout = "layout" // what people and programs say of the disk, as texts
)

// ImageFile is what the image is called when it is restored into a folder, or was
// saved as one stream.
const ImageFile = "disk.img"

// Kinds of fact of an image.
const (
	FactImage       = "image sha256" // digest of the stored blocks (package disk)
	FactBlocks      = "blocks"       // how many are stored
	FactBlockSize   = "block size"
	FactSector      = "sector size"      // as the partition table counts
	FactTable       = "partition table"  // kind and id
	FactPartition   = "partition"        // of a number: place, type and file system
	FactRest        = "file systems"     // of a virtual machine: whether they were brought to rest
	FactConsistency = "consistency"      // how the source was held still: one of the Consistency… words
	FactSystem      = "system"           // of the operating system on the disk: one of the names of package inside
	FactDiskFile    = "file on the disk" // sha256 of a file that the job names, by its path there
)

// How an image was held still while it was read.
const (
	ConsistencyOffline  = "offline"  // nobody wrote to it
	ConsistencySnapshot = "snapshot" // a snapshot was read, of a volume that may have been in use
	ConsistencyFrozen   = "frozen"   // one that was taken while the file systems on it were at rest
	ConsistencyCrash    = "crash"    // it was in use: what was read is at best as after a power cut
)

// Image is a source of a whole disk, partition or volume, or of a file that stands for
// one (raw or qcow2). Free space of the file systems in it is not stored.
type Image struct {
	// Path is the file or the block device.
	Path string
	// Consistency is one of the Consistency… words; empty means offline. With crash its
	// parts come from different instants, and what its file systems call free is not
	// believed, so all is stored that is no hole. With snapshot Path is an LVM volume, of
	// which a snapshot is taken and dropped.
	Consistency string
	// Files are absolute paths on the disk, of files whose digest becomes a fact.
	Files []string
	// Guest is the running virtual machine whose disk is read, instead of Path.
	Guest *guest.Machine
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source  = (*Image)(nil)
	_ Locator = (*Image)(nil)
)

// Prepare claims the disk, finds out which of its blocks hold something, and shows
// these as a tree of files. The error is fault.Refused for a disk that is in use.
func (i *Image) Prepare(ctx context.Context, scratch string) (_ Payload, err error) {
	t := &taking{source: i, at: i.Now(), undo: context.WithoutCancel(ctx)}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.release())
		}
	}()
	if err := t.open(ctx, scratch); err != nil {
		return Payload{}, err
	}
	if err := t.survey(ctx, scratch); err != nil {
		return Payload{}, err
	}
	if err := t.look(ctx, scratch); err != nil {
		return Payload{}, err
	}
	layout, err := t.layout(ctx, scratch)
	if err != nil {
		return Payload{}, err
	}
	image, err := t.show(ctx, scratch)
	if err != nil {
		return Payload{}, err
	}
	return Payload{
		At: t.at, Parts: []Part{image, layout}, Facts: t.facts, FactsLast: true,
		Consistency: t.consistency(), Release: sync.OnceValue(t.release),
	}, nil
}

// open opens what is read: the disk, a snapshot of it, or what a machine shows of it.
func (t *taking) open(ctx context.Context, scratch string) (err error) {
	if g := t.source.Guest; g != nil {
		if t.held, err = g.Hold(ctx, scratch); err != nil {
			return err
		}
		t.at = t.source.Now()
		t.image = disk.Over(g.String(), "guest", t.held.Size, t.held)
		return nil
	}
	path, err := t.freeze(ctx, scratch)
	if err != nil {
		return err
	}
	t.image, err = disk.Open(ctx, path, t.crash())
	return err
}

// Locations returns the file or device; of a virtual machine, those of its disk.
func (i *Image) Locations(ctx context.Context) ([]string, error) {
	if i.Guest != nil {
		return i.Guest.Files(ctx)
	}
	if _, err := os.Stat(i.Path); err != nil {
		return nil, pathError(i.Path, err)
	}
	return []string{i.Path}, nil
}

// A taking is one image being taken.
type taking struct {
	source *Image
	at     time.Time
	undo   context.Context // for what is undone at the end, however that comes
	image  *disk.Image
	// snapshot is what is read instead of the volume; nil without one.
	snapshot *lvmSnapshot
	held     *guest.Held // the disk of a virtual machine; nil without one
	found    *disk.Survey
	within   []Fact            // of the system on the disk
	texts    map[string][]byte // of the layout, about the system on the disk
	tree     *disk.Tree
	shown    *disk.Mounted
	// streamed says why the image is one stream; empty when it is not.
	streamed string
	feed     *feed // of the stream
}

func (t *taking) op() string {
	if t.source.Guest != nil {
		return "image of the " + t.source.Guest.String()
	}
	return fmt.Sprintf("image %q", t.source.Path)
}

func (t *taking) consistency() string {
	switch {
	case t.held != nil && t.held.AtRest:
		return ConsistencyFrozen
	case t.source.Guest != nil:
		return ConsistencySnapshot
	}
	return cmp.Or(t.source.Consistency, ConsistencyOffline)
}

func (t *taking) crash() bool { return t.consistency() == ConsistencyCrash }

func (t *taking) survey(ctx context.Context, scratch string) (err error) {
	dir := filepath.Join(scratch, "partitions")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return scratchError(scratch, err)
	}
	if t.found, err = t.image.Survey(ctx, dir, !t.crash()); err != nil {
		return fault.New(fault.KindOf(err), t.op(), err, fault.HintOf(err))
	}
	return nil
}

// show makes the tree of blocks.
func (t *taking) show(ctx context.Context, scratch string) (Part, error) {
	sums, err := disk.NewSums(filepath.Join(scratch, "sums"), t.image.Size)
	if err != nil {
		return Part{}, scratchError(scratch, err)
	}
	t.tree = &disk.Tree{Image: t.image, Size: t.image.Size, Stored: t.found.Stored, Sums: sums}
	dir := filepath.Join(scratch, PartImage)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return Part{}, scratchError(scratch, err)
	}
	t.shown, err = t.tree.Mount(ctx, dir)
	if fault.KindOf(err) == fault.MissingTool {
		t.streamed = err.Error()
		return t.stream(scratch)
	}
	if err != nil {
		return Part{}, err
	}
	return Part{Name: PartImage, Root: dir}, nil
}

// stream makes the image one stream, with zeros for what is not stored, where it
// cannot be shown as blocks.
func (t *taking) stream(scratch string) (_ Part, err error) {
	if t.feed, err = newFeed(scratch, filepath.Join(scratch, "stream")); err != nil {
		return Part{}, err
	}
	go t.feed.serve(func(w io.Writer) (func(bool), error) { return func(bool) {}, t.tree.Stream(w) })
	return Part{Name: PartImage, Dump: t.feed.dump(""), Filename: ImageFile}, nil
}

// facts are known when all was read: only then is it certain that it could be read,
// and that nobody wrote to it.
func (t *taking) facts(ctx context.Context) ([]Fact, error) {
	stored := t.found.Stored
	if t.streamed != "" {
		stored = disk.Full(t.image.Size)
	}
	digest, err := t.tree.Sums.Digest(stored)
	if broken := errors.Join(t.unchanged(ctx), t.tree.Err()); broken != nil || err != nil {
		return nil, fault.New(fault.Failed, t.op(), errors.Join(broken, err), t.advice(broken))
	}
	facts := []Fact{
		{PartImage, FactImage, "", digest},
		{PartImage, FactSize, "", strconv.FormatInt(t.image.Size, 10)},
		{PartImage, FactBlockSize, "", strconv.Itoa(disk.Block)},
		{PartImage, FactBlocks, "", strconv.FormatInt(stored.Count(), 10)},
		{PartImage, FactSector, "", strconv.FormatInt(t.image.Sector, 10)},
		{PartImage, FactConsistency, "", t.consistency()},
	}
	if t.held != nil {
		facts = append(facts, Fact{PartImage, FactRest, "", t.held.Rest})
	}
	if t.streamed != "" {
		facts = append(facts, Fact{PartImage, FactSkipped, "blocks", "saved as one stream, which grows faster: " + t.streamed})
	}
	for number, why := range t.found.Free {
		if why != "" {
			facts = append(facts, Fact{PartImage, FactSkipped, "free space of partition " + strconv.Itoa(number), why})
		}
	}
	return slices.Concat(facts, TableFacts(t.found.Table), t.within), nil
}

// advice says what to do about an image that could not be read whole. That not all of it
// was asked for is none of its faults.
func (t *taking) advice(err error) string {
	switch {
	case err == nil:
		return ""
	case fault.HintOf(err) != "":
		return fault.HintOf(err)
	case t.held != nil:
		return "see whether the machine runs still, and whether paths.scratch has room for what its guest overwrites meanwhile"
	case t.image.Gone():
		return "the device is gone: plug it in again, and run the backup anew"
	case errors.Is(err, disk.ErrChanged):
		return `shut down what writes to it, such as a virtual machine, or set consistency = "crash" to take it as after a power cut`
	}
	return "see the kernel's log for errors of the disk, and replace it while most of it reads; what was saved is not a whole image"
}

// TableFacts are what is true of the partitions of an image.
func TableFacts(t disk.Table) []Fact {
	facts := []Fact{{PartImage, FactTable, "", strings.TrimSpace(t.Kind + " " + t.ID)}}
	if t.Trouble != "" {
		facts = append(facts, Fact{PartImage, FactSkipped, "partition table", t.Trouble})
	}
	for _, p := range t.Partitions {
		facts = append(facts, Fact{PartImage, FactPartition, strconv.Itoa(p.Number), p.String()})
	}
	return facts
}

// unchanged tells whether the image held still, where that was promised.
func (t *taking) unchanged(ctx context.Context) error {
	if t.crash() {
		return nil
	}
	if t.snapshot != nil {
		return t.snapshot.whole(ctx)
	}
	return t.image.Unchanged()
}

func (t *taking) release() error {
	err := t.shown.Unmount()
	if t.feed != nil {
		t.feed.nudge()
		<-t.feed.done
		err = errors.Join(err, t.feed.remove())
	}
	if t.tree != nil {
		err = errors.Join(err, t.tree.Sums.Close())
	}
	err = errors.Join(err, t.image.Close())
	if t.snapshot != nil {
		err = errors.Join(err, t.snapshot.remove(t.undo))
		t.snapshot = nil
	}
	if t.held != nil {
		err = errors.Join(err, t.held.Release(t.undo))
		t.held = nil
	}
	return err
}

// IsImageTree reports whether a part of a run holds an image in blocks.
func IsImageTree(source, part, file string) bool {
	return source == "image" && part == PartImage && file == ""
}

// CleanUp takes away what a run that was killed left outside of its scratch folder,
// which it names: mounts of images and systems, snapshots of volumes, and what virtual
// machines do for us.
func CleanUp(ctx context.Context, scratch string) error {
	// A snapshot that is mounted cannot be dropped.
	err := errors.Join(disk.Detach(ctx, scratch), system.CleanUp(ctx, scratch))
	if err == nil {
		err = dropSnapshots(ctx, scratch)
	}
	return errors.Join(err, guest.Drop(ctx, scratch))
}
