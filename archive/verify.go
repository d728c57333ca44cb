package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"saoluu/internal/fault"
)

// VerifyOptions say what to read.
type VerifyOptions struct {
	Dirs       []string       // folders of sets, or of discs
	Partial    bool           // only the discs that are there: the others are looked at another time
	Identities []age.Identity // of a custodian: the content is decrypted and compared too; may be nil
	Show       func(Progress) // may be nil; must not block
}

// Verified says what was read and found whole.
type Verified struct {
	Index   Index
	SHA256  string // of the index
	Discs   []int  // that were read
	Content bool   // it was decrypted to its end and compared
}

// A Problem is one file that is not as it was written.
type Problem struct {
	Name string `json:"name"` // of the file
	Disc int    `json:"disc"`
	Why  string `json:"why"`
}

// Problems are an error that names what is damaged or missing.
type Problems []Problem

// Error lists the first ten.
func (p Problems) Error() string {
	var list []string
	for i, one := range p {
		if i == maxBad {
			list = append(list, fmt.Sprintf("and %d more", len(p)-i))
			break
		}
		list = append(list, fmt.Sprintf("%s (disc %d) %s", one.Name, one.Disc, one.Why))
	}
	return strings.Join(list, "; ")
}

const (
	verifyOp = "verify the archive"
	opening  = "open the archive"
)

// Verify reads every volume and compares it with its digest. The kind of the
// error is Damaged when something is not as it was written or missing, Incomplete
// for a set that was never finished, Unknown when it could not look.
func Verify(ctx context.Context, o VerifyOptions) (Verified, error) {
	set, bad, err := find(o.Dirs)
	if err != nil {
		return Verified{}, err
	}
	more, err := set.check(ctx, o.Partial, o.Show)
	if err != nil {
		return Verified{}, err
	}
	v := Verified{Index: set.index, SHA256: set.digest, Discs: set.discs()}
	if bad = append(bad, more...); len(bad) > 0 {
		return v, fault.New(fault.Damaged, verifyOp, bad, "take another copy of the set; what is whole on the other discs cannot be opened without the rest")
	}
	if len(o.Identities) == 0 {
		return v, nil
	}
	if len(v.Discs) < set.index.Discs {
		return v, fault.New(fault.Usage, verifyOp, errors.New("the content can be read only with all discs at hand"), "name the folders of all discs, or leave out --identity")
	}
	if err := set.open(ctx, o.Identities, o.Show); err != nil {
		return v, err
	}
	v.Content = true
	return v, nil
}

// found are the discs of one set.
type found struct {
	index  Index
	digest string
	dirs   map[int]string // by number of disc
}

func (f found) discs() (list []int) {
	for disc := range f.dirs {
		list = append(list, disc)
	}
	slices.Sort(list)
	return list
}

// find looks for the discs in the folders. Every disc carries the same index, and
// its own sums say whether its copy of it is whole.
func find(dirs []string) (found, Problems, error) {
	f := found{dirs: map[int]string{}}
	var bad Problems
	folders, err := discFolders(dirs)
	if err != nil {
		return f, nil, err
	}
	var unread []string
	for _, dir := range folders {
		x, digest, sums, err := readIndex(dir)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return f, nil, fault.New(fault.Unknown, verifyOp, err, "read it as a user that may")
		case err != nil:
			unread = append(unread, dir)
			continue
		case f.index.Set != "" && x.Set != f.index.Set:
			return f, nil, fault.New(fault.Usage, verifyOp, fmt.Errorf("discs of two sets: %s and %s", f.index.Set, x.Set), "name the discs of one set")
		}
		if f.index.Set == "" {
			f.index, f.digest = x, digest
		}
		if disc := whichDisc(f.index, sums); digest != f.digest || disc == 0 || f.dirs[disc] != "" {
			bad = append(bad, Problem{Name: filepath.Join(dir, SumsFile), Disc: disc, Why: "does not fit the other discs"})
		} else {
			f.dirs[disc] = dir
		}
	}
	if f.index.Set == "" {
		return f, nil, nothing(unread)
	}
	for _, dir := range unread {
		bad = append(bad, Problem{Name: filepath.Join(dir, IndexFile), Why: "is missing or damaged"})
	}
	return f, bad, nil
}

// nothing says why there is no set in the folders.
func nothing(folders []string) error {
	for _, dir := range folders {
		names, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.tar.zst.age.*"))
		_, whole := os.Stat(filepath.Join(dir, IndexFile))
		if err != nil || len(names) == 0 {
			continue
		}
		if whole == nil {
			return fault.New(fault.Damaged, verifyOp, fmt.Errorf("%s is damaged, and no other disc tells what belongs to the set", filepath.Join(dir, IndexFile)), "name the folders of all discs")
		}
		return unfinished(dir)
	}
	return fault.New(fault.Usage, verifyOp, fmt.Errorf("there is no archive in %s", strings.Join(folders, ", ")), "name the folder of a set or of its discs")
}

func unfinished(dir string) error {
	return fault.New(fault.Incomplete, verifyOp, fmt.Errorf("%s holds an archive that was not finished", dir), "delete it and write it anew with \"saoluu archive\"")
}

// discFolders returns the folders of discs: those named, and those in them.
func discFolders(dirs []string) (list []string, err error) {
	for _, dir := range dirs {
		if _, err := os.ReadDir(dir); err != nil {
			return nil, fault.New(fault.Unknown, verifyOp, err, "check the name of the folder and who may read it")
		}
		if _, err := os.Stat(filepath.Join(dir, UnfinishedFile)); err == nil {
			return nil, unfinished(dir)
		}
		inside, err := filepath.Glob(filepath.Join(escapeGlob(dir), "disc-[0-9]*"))
		if err != nil {
			return nil, err
		}
		if len(inside) == 0 {
			inside = []string{dir}
		}
		list = append(list, inside...)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// maxIndex bounds an index and a list of sums, in bytes.
const maxIndex = 64 << 20

// readIndex reads the index and the sums of a disc. An index that does not have
// its digest in the sums is an error.
func readIndex(dir string) (x Index, digest string, sums map[string]string, err error) {
	text, err := readSmall(filepath.Join(dir, IndexFile))
	if err != nil {
		return x, "", nil, err
	}
	list, err := readSmall(filepath.Join(dir, SumsFile))
	if err != nil {
		return x, "", nil, err
	}
	sums = map[string]string{}
	for line := range strings.Lines(string(list)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || name != filepath.Base(name) {
			return x, "", nil, errors.New("a line cannot be read")
		}
		sums[name] = sum
	}
	sum := sha256.Sum256(text)
	digest = hex.EncodeToString(sum[:])
	if sums[IndexFile] != digest {
		return x, "", nil, errors.New("another digest")
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return x, "", nil, err
	}
	if x.Format != Format {
		return x, "", nil, fmt.Errorf("format %d is not known", x.Format)
	}
	for _, v := range x.Volumes {
		if v.Name != filepath.Base(v.Name) || v.Disc < 1 || v.Disc > x.Discs {
			return x, "", nil, errors.New("a volume has no usable name")
		}
	}
	if x.Set == "" || len(x.Volumes) == 0 {
		return x, "", nil, errors.New("it names no volumes")
	}
	return x, digest, sums, nil
}

func readSmall(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxIndex))
	return text, errors.Join(err, file.Close())
}

// whichDisc tells the number of a disc by the volumes in its sums; 0 when they do
// not belong together.
func whichDisc(x Index, sums map[string]string) (disc int) {
	for _, v := range x.Volumes {
		sum, here := sums[v.Name]
		if !here {
			continue
		}
		if disc != 0 && v.Disc != disc || sum != v.SHA256 {
			return 0
		}
		disc = v.Disc
	}
	return disc
}

// check reads every volume, and the instructions of every disc.
func (f found) check(ctx context.Context, partial bool, show func(Progress)) (bad Problems, err error) {
	var done int64
	tell := func(n int64) {
		done += n
		if show != nil {
			show(Progress{Step: "read back", Done: done, Total: f.index.Bytes})
		}
	}
	of := map[string]string{}
	for _, v := range f.index.Volumes {
		of[v.SHA256] = v.Name
	}
	for _, v := range f.index.Volumes {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		dir, there := f.dirs[v.Disc]
		if !there {
			if !partial {
				bad = append(bad, Problem{v.Name, v.Disc, "is missing: the disc is not there"})
			}
			continue
		}
		digest, size, err := digestOf(ctx, filepath.Join(dir, v.Name), tell)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // not a fault of the medium
		}
		why, err := judge(v.SHA256, digest, err)
		if err != nil {
			return nil, err
		}
		if other := of[digest]; why != "" && other != "" {
			why = "holds what belongs into " + other
		} else if why == "" && size != v.Bytes {
			why = fmt.Sprintf("has %d bytes, not %d", size, v.Bytes)
		}
		if why != "" {
			bad = append(bad, Problem{v.Name, v.Disc, why})
		}
	}
	texts, err := f.checkTexts(ctx)
	return append(bad, texts...), err
}

// judge says what is wrong with a file, or that it could not be looked at.
func judge(want, got string, err error) (string, error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is missing", nil
	case errors.Is(err, fs.ErrPermission):
		return "", fault.New(fault.Unknown, verifyOp, err, "read it as a user that may")
	case err != nil:
		return "cannot be read: " + fault.Public(err), nil // the medium is worn out
	case got != want:
		return "has another digest than it was written with", nil
	}
	return "", nil
}

// checkTexts compares the small files of each disc with its sums.
func (f found) checkTexts(ctx context.Context) (bad Problems, err error) {
	for _, disc := range f.discs() {
		list, err := readSmall(filepath.Join(f.dirs[disc], SumsFile))
		if err != nil {
			return nil, fault.New(fault.Unknown, verifyOp, err, "check the medium")
		}
		for line := range bytes.Lines(list) {
			want, name, _ := strings.Cut(strings.TrimSpace(string(line)), "  ")
			if name != GuideFile && name != ReadmeFile {
				continue
			}
			digest, _, err := digestOf(ctx, filepath.Join(f.dirs[disc], name), nil)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			why, err := judge(want, digest, err)
			if err != nil {
				return nil, err
			}
			if why != "" {
				bad = append(bad, Problem{name, disc, why})
			}
		}
	}
	return bad, nil
}

// open decrypts the set, reads the tar to its end and compares every run with what
// is known of it.
func (f found) open(ctx context.Context, identities []age.Identity, show func(Progress)) error {
	volumes := &volumeReader{}
	defer func() { _ = volumes.Close() }() // read only
	for _, v := range f.index.Volumes {
		volumes.paths = append(volumes.paths, filepath.Join(f.dirs[v.Disc], v.Name))
	}
	var done int64
	plain, err := age.Decrypt(&shown{r: volumes, show: func(n int64) {
		done += n
		if show != nil {
			show(Progress{Step: "open", Done: done, Total: f.index.Bytes})
		}
	}, stopped: func() error { return context.Cause(ctx) }}, identities...)
	var nobody *age.NoIdentityMatchError
	switch {
	case errors.As(err, &nobody):
		return fault.New(fault.WrongKey, opening, errors.New("the identity is not one it was encrypted to"), "use the identity file of a custodian named in README.txt")
	case err != nil:
		return fault.New(fault.Damaged, opening, err, "take another copy of the set")
	}
	unpacked, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer unpacked.Close()
	runs, err := readRuns(ctx, tar.NewReader(unpacked))
	if err == nil {
		_, err = io.Copy(io.Discard, unpacked) // to the end: only then age has proved all of it
	}
	if err == nil {
		_, err = io.Copy(io.Discard, plain)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fault.New(fault.Damaged, opening, err, "take another copy of the set")
	}
	for _, r := range f.index.Runs {
		if !slices.Contains(runs, r.Run) {
			return fault.New(fault.Damaged, opening, fmt.Errorf("run %s is not in it", r.Run), "take another copy of the set")
		}
	}
	return nil
}
