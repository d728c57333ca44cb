package sources

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// What a sample holds when nothing else is said. 32 MiB is 0.1 % of what a
// backup of 2 GiB costs in processor time: hashing runs at about 1.6 GB/s.
const (
	sampleFiles = 200
	sampleBytes = 32 << 20
)

// A survey walks the trees of one backup and takes their facts.
type survey struct {
	files   Files
	roots   []string
	exclude []pattern
	before  time.Time // only what did not change from here on has facts

	stable, changed int   // regular files
	bytes           int64 // of the stable ones
	empty           []string
}

// A candidate is a regular file as the walk saw it.
type candidate struct {
	path    string
	size    int64
	mode    fs.FileMode
	ino     uint64
	changed time.Time // of content or attributes (ctime)
	written time.Time // of content (mtime)
	rank    uint64    // by the seed
}

// seen reads what identifies the state of a file.
func seen(path string, info fs.FileInfo) candidate {
	c := candidate{path: path, size: info.Size(), mode: info.Mode(), written: info.ModTime(), changed: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		c.ino, c.changed = st.Ino, time.Unix(st.Ctim.Unix())
	}
	return c
}

// same reports whether the file is still what the walk saw.
func (c candidate) same(info fs.FileInfo) bool {
	now := seen(c.path, info)
	return now.size == c.size && now.ino == c.ino && now.mode == c.mode &&
		now.changed.Equal(c.changed) && now.written.Equal(c.written)
}

// facts walks, chooses, hashes, and looks once more: what changed since the
// backup began has no fact and is counted instead.
func (s survey) facts(ctx context.Context) ([]Fact, error) {
	var chosen []candidate
	var err error
	sample := fmt.Sprintf("mode=%s", ModeFull)
	if s.files.FactsMode == ModeFull {
		err = s.walk(ctx, func(c candidate) { chosen = append(chosen, c) })
	} else {
		picker := newSampler(cmp.Or(s.files.SampleFiles, sampleFiles), s.files.Seed)
		err = s.walk(ctx, picker.add)
		chosen = picker.choose(s.budget())
		sample = fmt.Sprintf("mode=%s seed=%s files=%d of=%d", ModeSampled, s.files.Seed, len(chosen), s.stable)
	}
	if err != nil {
		return nil, err
	}
	facts, lost, err := hashAll(ctx, chosen)
	if err != nil {
		return nil, err
	}
	facts = append(facts,
		Fact{Kind: FactSample, Value: sample},
		Fact{Kind: FactFiles, Value: strconv.Itoa(s.stable - lost)})
	if n := s.changed + lost; n > 0 {
		facts = append(facts, Fact{Kind: FactSkipped, Value: fmt.Sprintf("%d files changed while the backup was made", n)})
	}
	for _, root := range s.empty {
		facts = append(facts, Fact{Kind: FactSkipped, Of: pathName(root), Value: "an empty folder"})
	}
	return ofPart(partTree, facts), nil
}

func (s *survey) budget() int64 {
	if s.files.SampleBytes > 0 {
		return s.files.SampleBytes
	}
	return max(sampleBytes, s.bytes/100)
}

// walk shows every regular file that is stable and not excluded to see. What
// cannot be read is restic's to report.
func (s *survey) walk(ctx context.Context, see func(candidate)) error {
	for _, root := range s.roots {
		device, isDir, entries := uint64(0), false, 0
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if path != root {
				entries++
			}
			if err != nil || excluded(s.exclude, path) {
				return skip(d)
			}
			if path == root || d.IsDir() && s.files.OneFileSystem {
				dev := deviceOf(d)
				if path == root {
					device, isDir = dev, d.IsDir()
				}
				if dev != device {
					return skip(d)
				}
			}
			if d.Type().IsRegular() {
				s.file(path, d, see)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if isDir && entries == 0 {
			s.empty = append(s.empty, root)
		}
	}
	return nil
}

func (s *survey) file(path string, d fs.DirEntry, see func(candidate)) {
	info, err := d.Info()
	if err != nil {
		return // gone since its folder was read
	}
	c := seen(path, info)
	if !c.changed.Before(s.before) || !c.written.Before(s.before) {
		s.changed++
		return
	}
	s.stable++
	s.bytes += c.size
	see(c)
}

func skip(d fs.DirEntry) error {
	if d != nil && d.IsDir() {
		return filepath.SkipDir
	}
	return nil
}

func deviceOf(d fs.DirEntry) uint64 {
	info, err := d.Info()
	if err != nil {
		return 0
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	if st == nil {
		return 0
	}
	return uint64(st.Dev)
}

// A sampler keeps what it needs to choose n files, in memory that does not grow
// with the tree.
type sampler struct {
	n              int
	seed           string
	newest, ranked best
	smallest       best
}

func newSampler(n int, seed string) *sampler {
	return &sampler{
		n: n, seed: seed,
		newest:   best{keep: n, order: func(a, b candidate) int { return b.written.Compare(a.written) }},
		ranked:   best{keep: 4 * n, order: func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) }},
		smallest: best{keep: 1, order: func(a, b candidate) int { return cmp.Compare(a.size, b.size) }},
	}
}

func (s *sampler) add(c candidate) {
	sum := sha256.Sum256([]byte(s.seed + "\x00" + c.path))
	c.rank = binary.BigEndian.Uint64(sum[:8])
	s.newest.add(c)
	s.ranked.add(c)
	s.smallest.add(c)
}

// choose takes a tenth from the newest files, since the last day's work is what
// a restore is most often about, and the rest by rank, as far as budget bytes
// go. Of a tree of files that are all larger it takes the smallest.
func (s *sampler) choose(budget int64) []candidate {
	var chosen []candidate
	taken := map[string]bool{}
	take := func(from []candidate, limit int) {
		for _, c := range from {
			if len(chosen) >= limit {
				return
			}
			if taken[c.path] || c.size > budget {
				continue
			}
			taken[c.path] = true
			budget -= c.size
			chosen = append(chosen, c)
		}
	}
	take(s.newest.list(), max(1, s.n/10))
	take(s.ranked.list(), s.n)
	if len(chosen) == 0 {
		chosen = s.smallest.list()
	}
	slices.SortFunc(chosen, func(a, b candidate) int { return cmp.Compare(a.path, b.path) })
	return chosen
}

// best keeps the first candidates by order; equal ones by path.
type best struct {
	keep  int
	order func(a, b candidate) int
	all   []candidate
}

func (b *best) add(c candidate) {
	b.all = append(b.all, c)
	if len(b.all) >= 2*b.keep+64 {
		b.list()
	}
}

func (b *best) list() []candidate {
	slices.SortFunc(b.all, func(x, y candidate) int {
		return cmp.Or(b.order(x, y), cmp.Compare(x.path, y.path))
	})
	b.all = b.all[:min(len(b.all), b.keep)]
	return b.all
}

// openPlain opens a regular file for reading and does not follow a link or hang
// on a pipe that took its place.
func openPlain(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}
