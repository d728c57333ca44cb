package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// Options say what to write and where.
type Options struct {
	Dir        string // missing or empty
	Size       int64  // the most bytes of a disc
	Set        string // id, unique
	Site       string // code
	SiteName   string
	Made       time.Time
	Location   *time.Location // in which instants are written in the instructions
	Custodians []Custodian
	Recipients []age.Recipient // of the custodians
	Runs       []Run
	Tools      []Tool
	Spool      string         // folder for the list of the files of a run
	AnySpace   bool           // begin although the worst case does not fit
	Identities []age.Identity // of a custodian: the content is decrypted and compared too; may be nil
	Show       func(Progress) // may be nil; must not block
}

// Written is a finished set.
type Written struct {
	Index  Index
	SHA256 string // of the index
}

// Write writes a set and reads it back. On error nothing of it is left, except
// what cannot be removed, which UNFINISHED.txt tells about.
func Write(ctx context.Context, o Options) (w Written, err error) {
	const op = "write the archive"
	switch {
	case len(o.Recipients) == 0:
		return w, fault.New(fault.Refused, op, errors.New("there is nobody to encrypt it to"), "name custodians in the configuration")
	case len(o.Runs) == 0:
		return w, fault.New(fault.Usage, op, errors.New("there is nothing to write"), "")
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return w, err
	}
	if err := free(o.Dir, o.Site); err != nil {
		return w, err
	}
	if o.Size < leastDisc(o.Runs) {
		return w, fault.New(fault.Usage, op, fmt.Errorf("discs of %d bytes are too small, the least for this set is %d", o.Size, leastDisc(o.Runs)), "give a larger --size")
	}
	if err := durable.MkdirAll(o.Dir, dirPerm); err != nil {
		return w, mediumError(err)
	}
	worst, err := room(o)
	if err != nil {
		return w, err
	}
	begun := fmt.Sprintf(unfinishedText, o.Site, o.Made.UTC().Format(time.RFC3339))
	if err := durable.WriteFile(filepath.Join(o.Dir, UnfinishedFile), []byte(begun), filePerm); err != nil {
		return w, mediumError(err)
	}
	v := &volumes{
		dir: o.Dir, name: fmt.Sprintf("saoluu-%s-%s.tar.zst.age", o.Site, o.Set), room: o.Size - allowance(o.Runs, worst/o.Size+2),
		digits: max(3, len(fmt.Sprint(worst/min(maxVolume, o.Size/2)+2))),
	}
	defer func() {
		if err != nil {
			v.abandon()
			err = errors.Join(err, discard(o.Dir))
		}
	}()
	if err := fill(ctx, o, v); err != nil {
		return w, err
	}
	return finish(ctx, o, v)
}

const unfinishedText = `Bộ lưu trữ này CHƯA GHI XONG. Không được dùng. Hãy xóa cả thư mục và ghi lại.
This archive is NOT FINISHED. Do not use it. Delete this folder and write it anew.
site %s, begun %s
`

// free refuses a folder in which something is.
func free(dir, site string) error {
	const op = "write the archive"
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return mediumError(err)
	}
	there := false
	for _, e := range entries {
		there = there || e.Name() != "lost+found" // which mkfs makes
	}
	if !there {
		return nil
	}
	const hint = "choose an empty folder with --to"
	if text, err := os.ReadFile(filepath.Join(dir, UnfinishedFile)); err == nil {
		return fault.New(fault.Refused, op, fmt.Errorf("%s holds an archive that was not finished (%s)", dir, lastLine(string(text))),
			"delete what is in it, or "+hint)
	}
	text, err := os.ReadFile(filepath.Join(discDir(dir, 1), IndexFile))
	var there1 Index
	if err == nil && json.Unmarshal(text, &there1) == nil && there1.Set != "" {
		whose := "this site"
		if there1.Site != site {
			whose = fmt.Sprintf("another site, %q", there1.Site)
		}
		return fault.New(fault.Refused, op, fmt.Errorf("%s holds archive %s of %s", dir, there1.Set, whose), hint)
	}
	return fault.New(fault.Refused, op, fmt.Errorf("%s is not empty", dir), hint)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// What a disc needs besides volumes, in bytes: the two instructions, with a line
// for each run, the index with an entry for each run and volume, and the sums.
const (
	textsRoom  = 48 << 10
	runRoom    = 1 << 10
	volumeRoom = 512
)

func allowance(runs []Run, discs int64) int64 {
	return textsRoom + runRoom*int64(len(runs)) + volumeRoom*3*discs
}

func leastDisc(runs []Run) int64 { return 4 * (allowance(runs, 1) + leastVolume) }

// room compares what is free with what is needed when nothing can be compressed,
// and returns the latter.
func room(o Options) (worst int64, err error) {
	const header = 2 << 10 // of an entry, with its padding and its records in PAX form (POSIX.1, pax)
	for _, r := range o.Runs {
		worst += int64(len(r.Facts)) + int64(len(r.Ledger))
		for _, p := range r.Parts {
			worst += p.Bytes + header*p.Items + 256*p.Items // and its line in the list of files
		}
	}
	worst += worst>>9 + allowance(o.Runs, 1) // of zstd and age; then what each disc has besides
	worst += (worst/o.Size + 1) * allowance(o.Runs, worst/o.Size+2)
	var st unix.Statfs_t
	if err := unix.Statfs(o.Dir, &st); err != nil {
		return 0, mediumError(&fs.PathError{Op: "statfs", Path: o.Dir, Err: err})
	}
	if free := int64(st.Bavail) * st.Bsize; free < worst && !o.AnySpace {
		return 0, fault.New(fault.NoSpace, "write the archive", fmt.Errorf("%d MiB are free in %s, and %d MiB are needed when nothing can be compressed", free>>20, o.Dir, worst>>20+1),
			"choose a folder with more room, or say --any-space when the data are known to shrink")
	}
	return worst, nil
}

// fill writes the volumes.
func fill(ctx context.Context, o Options, v *volumes) error {
	sealed, err := age.Encrypt(v, o.Recipients...)
	if err != nil {
		return prefer(v.err, err)
	}
	packed, err := zstd.NewWriter(sealed, zstd.WithEncoderConcurrency(1)) // more gains nothing beside the encryption
	if err != nil {
		return err
	}
	var total, done int64
	for _, r := range o.Runs {
		total += r.Bytes
	}
	c := &contents{w: tar.NewWriter(packed), out: v, spool: o.Spool, made: o.Made, show: func(n int64) {
		done += n
		o.show("write", done, total)
	}}
	for _, r := range o.Runs {
		if err := c.run(ctx, r); err != nil {
			return prefer(v.err, err)
		}
	}
	if err := errors.Join(c.w.Close(), packed.Close(), sealed.Close()); err != nil {
		return prefer(v.err, err)
	}
	return v.finish()
}

// prefer returns the cause when there is one.
func prefer(cause, err error) error {
	if cause != nil {
		return cause
	}
	return err
}

func (o Options) show(step string, done, total int64) {
	if o.Show != nil {
		o.Show(Progress{Step: step, Done: done, Total: total})
	}
}

// finish writes what each disc has besides volumes, reads everything back, and
// last writes the indexes.
func finish(ctx context.Context, o Options, v *volumes) (Written, error) {
	x := Index{
		Format: Format, Set: o.Set, Site: o.Site, SiteName: o.SiteName, Made: o.Made.UTC(), Custodians: o.Custodians,
		Discs: v.disc, DiscSize: o.Size, Volumes: v.list, Tools: o.Tools,
	}
	for _, r := range o.Runs {
		x.Runs = append(x.Runs, r.RunInfo)
	}
	for _, volume := range v.list {
		x.Bytes += volume.Bytes
	}
	text, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return Written{}, err
	}
	text = append(text, '\n')
	sum := sha256.Sum256(text)
	w := Written{Index: x, SHA256: hex.EncodeToString(sum[:])}
	for disc := 1; disc <= x.Discs; disc++ {
		if err := describe(o, x, disc, w.SHA256, int64(len(text))); err != nil {
			return w, err
		}
	}
	if err := readBack(ctx, o, x); err != nil {
		return w, err
	}
	for disc := 1; disc <= x.Discs; disc++ {
		if err := durable.WriteFile(filepath.Join(discDir(o.Dir, disc), IndexFile), text, filePerm); err != nil {
			return w, mediumError(err)
		}
	}
	if err := os.Remove(filepath.Join(o.Dir, UnfinishedFile)); err != nil {
		return w, mediumError(err)
	}
	return w, mediumError(durable.SyncDir(o.Dir))
}

// describe writes the instructions and sums of a disc.
func describe(o Options, x Index, disc int, index string, indexBytes int64) error {
	dir := discDir(o.Dir, disc)
	var sums strings.Builder
	total := indexBytes
	for _, v := range x.Volumes {
		if v.Disc == disc {
			sums.WriteString(sumsLine(v.SHA256, v.Name))
			total += v.Bytes
		}
	}
	texts := instructions(x, disc, o.Location)
	for _, name := range []string{GuideFile, ReadmeFile} {
		sum := sha256.Sum256([]byte(texts[name]))
		sums.WriteString(sumsLine(hex.EncodeToString(sum[:]), name))
	}
	sums.WriteString(sumsLine(index, IndexFile))
	texts[SumsFile] = sums.String()
	for name, text := range texts {
		total += int64(len(text))
		if err := durable.WriteFile(filepath.Join(dir, name), []byte(text), filePerm); err != nil {
			return mediumError(err)
		}
	}
	if total > o.Size {
		return fault.New(fault.Failed, "write the archive", fmt.Errorf("disc %d would have %d bytes, more than %d", disc, total, o.Size), "give a larger --size")
	}
	return nil
}

// readBack compares what the medium holds with what was written, and with
// identities decrypts it and compares the content with what is known of the runs.
func readBack(ctx context.Context, o Options, x Index) error {
	set := found{index: x, dirs: map[int]string{}}
	for disc := 1; disc <= x.Discs; disc++ {
		set.dirs[disc] = discDir(o.Dir, disc)
	}
	bad, err := set.check(ctx, true, o.Show)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return fault.New(fault.Damaged, "read the archive back", bad, "the medium is not reliable: write to another one")
	}
	if len(o.Identities) == 0 {
		return nil
	}
	return set.open(ctx, o.Identities, o.Show)
}

// discard removes what Write has made.
func discard(dir string) error {
	discs, err := filepath.Glob(filepath.Join(escapeGlob(dir), "disc-*"))
	for _, d := range discs {
		err = errors.Join(err, os.RemoveAll(d))
	}
	if err != nil {
		return fmt.Errorf("remove the unfinished archive: %w", err)
	}
	return os.Remove(filepath.Join(dir, UnfinishedFile))
}

// escapeGlob makes a path match itself alone.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
