package sources

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// tree makes the files of a configuration ready. Its facts are those of Files in full,
// and owners and links beside: a service may not start for want of a right owner.
func (c *Config) tree(ctx context.Context, scratch string) ([]Part, func(context.Context) ([]Fact, error), error) {
	files := Files{
		Paths: c.Paths, Exclude: c.Exclude, OneFileSystem: c.OneFileSystem,
		FactsMode: ModeFull, Now: c.Now, Fstab: c.Fstab,
	}
	began, err := fileClock(scratch)
	if err != nil {
		return nil, nil, err
	}
	p, err := files.Prepare(ctx, scratch)
	if err != nil {
		return nil, nil, err
	}
	part := p.Parts[0]
	part.Name = PartPaths
	facts := func(ctx context.Context) ([]Fact, error) {
		content, err := p.Facts(ctx)
		if err != nil {
			return nil, err
		}
		more, err := ownership(ctx, part, began)
		return ofPart(PartPaths, slices.Concat(content, more)), err
	}
	return []Part{part}, facts, nil
}

// ownership returns the facts of a tree that are not about content, of what did not
// change since the backup began, and names what did.
func ownership(ctx context.Context, part Part, began time.Time) ([]Fact, error) {
	exclude := parsePatterns(part.Exclude)
	var facts []Fact
	for _, root := range part.Paths {
		device := uint64(0)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil || excluded(exclude, path) {
				return skip(d)
			}
			if path == root {
				device = deviceOf(d)
			}
			if part.OneFileSystem && d.IsDir() && deviceOf(d) != device {
				return skip(d)
			}
			info, err := d.Info()
			if err != nil {
				return nil // gone since its folder was read
			}
			facts = append(facts, entryFacts(path, info, began)...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return facts, nil
}

// entryFacts are the facts about one entry of a tree that its content does not tell.
// Sockets, pipes and devices are no configuration and have none.
func entryFacts(path string, info fs.FileInfo, began time.Time) []Fact {
	of, mode := pathName(path), info.Mode()
	if !mode.IsRegular() && !mode.IsDir() && mode.Type() != fs.ModeSymlink {
		return nil
	}
	if !began.IsZero() && !seen(path, info).changed.Before(began) {
		if mode.IsDir() {
			return nil
		}
		return []Fact{{Kind: FactUnread, Of: of, Value: "changed while the backup was made"}}
	}
	var facts []Fact
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		facts = append(facts, Fact{Kind: FactOwner, Of: of, Value: fmt.Sprintf("%d:%d", st.Uid, st.Gid)})
	}
	switch {
	case mode.IsDir():
		facts = append(facts, Fact{Kind: FactMode, Of: of, Value: mode.String()})
	case mode.Type() == fs.ModeSymlink:
		if to, err := os.Readlink(path); err == nil {
			facts = append(facts, Fact{Kind: FactLink, Of: of, Value: pathName(to)})
		}
	}
	return facts
}

// ConfigFacts returns what is true of a configuration restored below root, as TreeFacts
// does for files, with owners and links.
func ConfigFacts(ctx context.Context, root string, want []Fact) ([]Fact, error) {
	got, err := TreeFacts(ctx, root, want)
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	looked := map[string]bool{}
	for _, f := range want {
		path, ok := FactPath(f)
		if !ok || looked[f.Of] || f.Kind != FactOwner && f.Kind != FactLink {
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		looked[f.Of] = true
		name := strings.TrimPrefix(path, "/")
		info, err := dir.Lstat(rootName(name))
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found := entryFacts(path, info, time.Time{})
		if info.Mode().Type() == fs.ModeSymlink {
			to, err := dir.Readlink(name)
			if err != nil {
				return nil, err
			}
			found = slices.DeleteFunc(found, func(f Fact) bool { return f.Kind == FactLink })
			found = append(found, Fact{Kind: FactLink, Of: f.Of, Value: pathName(to)})
		}
		got = append(got, ofPart(f.Part, found)...)
	}
	return got, nil
}

// rootName is the name of an entry for os.Root, whose own name is a dot.
func rootName(name string) string {
	if name == "" {
		return "."
	}
	return name
}
