package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// hashBytes is the most that is read at once while hashing.
const hashBytes = 256 << 10

// hashAll returns the facts of the files that stayed as they are, and how many
// did not. Each is looked at before, after, and again at the very end.
func hashAll(ctx context.Context, chosen []candidate) (facts []Fact, lost int, err error) {
	sums := make([]string, len(chosen))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, c := range chosen {
		group.Go(func() error {
			sums[i] = hashStable(ctx, c)
			return context.Cause(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, 0, err
	}
	for i, c := range chosen {
		info, err := os.Lstat(c.path)
		if sums[i] == "" || err != nil || !c.same(info) {
			lost++
			continue
		}
		facts = append(facts, fileFacts(c.path, sums[i], c.mode)...)
	}
	return facts, lost, nil
}

// hashStable returns the digest of a file, or "" when it is not what the walk
// saw or cannot be read: then there is no fact, and restic reports the rest.
func hashStable(ctx context.Context, c candidate) string {
	file, info, err := openPlain(c.path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if !c.same(info) {
		return ""
	}
	sum, err := digest(ctx, file, c.size)
	if err != nil {
		return ""
	}
	if info, err = file.Stat(); err != nil || !c.same(info) {
		return ""
	}
	return sum
}

// fileFacts are the facts of one file. Its size needs none: files of different
// size have different digests.
func fileFacts(path, sum string, mode fs.FileMode) []Fact {
	of := pathName(path)
	return []Fact{
		{Kind: FactSHA256, Of: of, Value: sum},
		{Kind: FactMode, Of: of, Value: mode.String()},
	}
}

// digest reads r to its end and returns its SHA-256 in hexadecimal. It should be
// size bytes long, and may be of any length: most files are small, and a large
// buffer for each would cost more than the hash.
func digest(ctx context.Context, r io.Reader, size int64) (string, error) {
	h := sha256.New()
	buf := make([]byte, max(512, min(hashBytes, size+1)))
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

// TreeFacts returns what is true of a tree restored below root, for every fact
// about a tree in want: a file that was saved as /a/b is looked for at root/a/b.
// Nothing outside root is opened, whatever links the tree holds. A fact about a
// file that is not there, or is no regular file, is missing from the result. The
// error is only for what could not be looked at.
func TreeFacts(ctx context.Context, root string, want []Fact) ([]Fact, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var files []Fact // one for each path
	seen := map[string]bool{}
	var got []Fact
	for _, f := range want {
		switch f.Kind {
		case FactFiles:
			n, err := countFiles(ctx, root)
			if err != nil {
				return nil, err
			}
			got = append(got, Fact{Part: f.Part, Kind: FactFiles, Value: strconv.Itoa(n)})
		case FactSHA256, FactMode:
			if !seen[f.Of] {
				seen[f.Of] = true
				files = append(files, f)
			}
		}
	}
	found := make([][]Fact, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range files {
		group.Go(func() (err error) {
			found[i], err = restoredFile(ctx, dir, f)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return append(got, slices.Concat(found...)...), nil
}

// restoredFile returns what is now true of the file that f is about; nothing when
// it is not there.
func restoredFile(ctx context.Context, dir *os.Root, f Fact) ([]Fact, error) {
	path, ok := FactPath(f)
	if !ok {
		return nil, nil
	}
	name := strings.TrimPrefix(path, "/")
	info, err := dir.Lstat(name)
	if absent(err) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum, err := digest(ctx, file, info.Size())
	if err != nil {
		return nil, err
	}
	return ofPart(f.Part, fileFacts(path, sum, info.Mode())), nil
}

// absent reports whether err says that there is nothing at a path: it does not
// exist, what should be a folder on the way is something else, or the way leads
// out of the tree, which os.Root tells without an error number.
func absent(err error) bool {
	if err == nil {
		return false
	}
	var number syscall.Errno
	if !errors.As(err, &number) {
		var pe *fs.PathError
		return errors.As(err, &pe)
	}
	return number == syscall.ENOENT || number == syscall.ENOTDIR || number == syscall.ELOOP
}

func countFiles(ctx context.Context, root string) (int, error) {
	n := 0
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			n++
		}
		return context.Cause(ctx)
	})
	return n, err
}
