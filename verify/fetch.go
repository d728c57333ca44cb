package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/sources/system"
)

// A restoredPart is a part that lies in the sandbox.
type restoredPart struct {
	PartCopy
	dir  string // what restic restored into
	file string // of a stream
	sum  string // of a stream, as restored

	image  *ImageRead     // of an image in blocks, which lies in file
	layout *system.Layout // of the files of a system, whose rebuilt disk lies in file
}

// fetchAtOnce is how many parts are restored at the same time: most of the time
// of a small one is restic's key derivation and its pause after locking.
const fetchAtOnce = 2

// fetch restores every part from the target, past any cache.
func (x *examination) fetch(ctx context.Context) ([]restoredPart, error) {
	if x.request.isSystem() {
		return x.fetchSystem(ctx)
	}
	parts := make([]restoredPart, len(x.request.Parts))
	bytes := make([]int64, len(parts))
	show := x.progress()
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(fetchAtOnce)
	for i, p := range x.request.Parts {
		parts[i] = restoredPart{PartCopy: p, dir: filepath.Join(x.sandbox.data, strconv.Itoa(i))}
		options := restic.RestoreOptions{NoCache: true, Sparse: x.request.isStream(p), OnProgress: show(i)}
		if x.request.sampled() {
			options.Include = x.wanted(p.Part)
		}
		if sources.IsImageTree(x.request.Source, p.Part, p.Filename) {
			group.Go(func() (err error) {
				bytes[i], err = x.fetchImage(inner, &parts[i], show(i))
				return x.restoreError(ctx, p, err)
			})
			continue
		}
		group.Go(func() error {
			done, err := x.tester.Engine.Restore(inner, x.request.Repo, p.Snapshot, parts[i].dir, options)
			bytes[i] = done.Bytes
			return x.restoreError(ctx, p, err)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, n := range bytes {
		x.result.RestoredBytes += n
	}
	return parts, nil
}

// progress returns, for each part, who takes its progress and shows that of all.
func (x *examination) progress() func(part int) func(restic.Progress) {
	show := x.request.OnProgress
	if show == nil {
		return func(int) func(restic.Progress) { return nil }
	}
	var mu sync.Mutex
	done := make([]int64, len(x.request.Parts))
	var total int64
	for _, p := range x.request.Parts {
		total += p.Bytes
	}
	return func(part int) func(restic.Progress) {
		return func(p restic.Progress) {
			mu.Lock()
			defer mu.Unlock()
			done[part] = p.BytesDone
			var sum int64
			for _, n := range done {
				sum += n
			}
			show(sum, max(total, sum), p.Remaining)
		}
	}
}

// wanted are the patterns of the files of a tree that facts and checks speak of.
func (x *examination) wanted(part string) []string {
	var all []string
	for _, f := range x.request.Facts {
		if path, ok := sources.FactPath(f); ok && f.Part == part && f.Kind == sources.FactSHA256 {
			all = append(all, literal(path))
		}
	}
	for _, c := range x.request.Checks {
		for _, path := range []string{c.Exists, c.SHA256Path} {
			if path != "" {
				all = append(all, literal(path))
			}
		}
	}
	return all
}

// literal makes a restic pattern that matches a path alone (restic manual,
// "Excluding files": patterns are those of path/filepath.Match).
func literal(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// restoreError tells damage of the copy from everything else. A snapshot that
// the catalog knows and the target does not hold is damage too: it was looked for.
func (x *examination) restoreError(ctx context.Context, p PartCopy, err error) error {
	if err == nil {
		return nil
	}
	if fault.KindOf(err) == fault.Damaged {
		return &finding{AssertionRestore, "the copy reads back from its target", "damaged", err}
	}
	if fault.KindOf(err) != fault.Failed {
		return err
	}
	held, lerr := x.tester.Engine.Snapshots(ctx, x.request.Repo, restic.Filter{})
	if lerr != nil {
		return err
	}
	for _, s := range held {
		if s.ID == p.Snapshot {
			return err
		}
	}
	return &finding{AssertionRestore, "the snapshot is on its target", "not there", err}
}

// digests finds the file of each stream and holds its digest against the one
// taken when it was saved.
func (x *examination) digests(ctx context.Context, parts []restoredPart) error {
	compared, held := 0, 0
	for i := range parts {
		p := &parts[i]
		if !x.request.isStream(p.PartCopy) {
			continue
		}
		var err error
		if p.file, err = onlyFile(p.dir); err != nil {
			return err
		}
		if p.SHA256 == "" {
			continue
		}
		if p.sum, err = fileSum(ctx, p.file); err != nil {
			return err
		}
		compared++
		if p.sum == p.SHA256 {
			held++
			continue
		}
		x.detail("part %q: expected sha256 %s, restored %s", p.Part, p.SHA256, p.sum)
	}
	if held < compared {
		return &finding{"stream digest", count(compared, compared), count(held, compared), nil}
	}
	if compared > 0 {
		x.assert(Assertion{Name: "stream digest", Expected: count(compared, compared), Actual: count(held, compared), OK: true})
	}
	return nil
}

func count(n, of int) string { return fmt.Sprintf("%d of %d", n, of) }

// onlyFile returns the one file below dir.
func onlyFile(dir string) (string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = append(found, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(found) != 1 {
		return "", &finding{"stream", "1 file", fmt.Sprintf("%d files", len(found)), nil}
	}
	return found[0], nil
}

func fileSum(ctx context.Context, path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return readerSum(ctx, file)
}

func readerSum(ctx context.Context, r io.Reader) (string, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}
