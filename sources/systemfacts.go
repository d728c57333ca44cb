package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// ReadLayout reads the layout of a system from the folder with its part.
func ReadLayout(dir string) (*system.Layout, error) {
	file, _, err := openPlain(filepath.Join(dir, system.LayoutFile)) // it comes out of a backup: no link of it is followed
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxLayout))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return system.Decode(text)
}

// layoutFacts are what is true of the layout of a system: what it says, and the files
// that a disk is rebuilt from.
func layoutFacts(ctx context.Context, dir string) ([]Fact, error) {
	facts, err := saidByLayout(dir)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.bin"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(files, filepath.Join(dir, system.LayoutFile)) {
		file, info, err := openPlain(path)
		if err != nil {
			return nil, err
		}
		sum, err := digest(ctx, file, info.Size())
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		facts = append(facts, Fact{Kind: FactSHA256, Of: "/" + filepath.Base(path), Value: sum})
	}
	return ofPart(PartLayout, facts), nil
}

func saidByLayout(dir string) ([]Fact, error) {
	l, err := ReadLayout(dir)
	if err != nil {
		return nil, err
	}
	facts := []Fact{{Kind: FactSystem, Of: "os", Value: strings.TrimSpace(fmt.Sprintf("%s (%s); kernels: %s", l.OS.Name, l.OS.ID, strings.Join(l.OS.Kernels, " ")))}}
	for _, f := range l.FileSystems {
		facts = append(facts, Fact{Kind: FactFileSystem, Of: strings.TrimSpace(strconv.Itoa(f.Partition) + " " + f.Volume), Value: strings.TrimSpace(f.Type + " " + f.UUID)})
	}
	return ofPart(PartLayout, append(facts, TableFacts(l.Disk.Table)...)), nil
}

// SystemTreeFacts returns what is true of a part of a system restored below root, for every
// fact in want. What a layout says that is not there, or cannot be read, is missing.
func SystemTreeFacts(ctx context.Context, part, root string, want []Fact) ([]Fact, error) {
	got, err := TreeFacts(ctx, root, want)
	if err != nil || part != PartLayout {
		return got, err
	}
	said, err := saidByLayout(root)
	if errors.Is(err, fs.ErrNotExist) || fault.KindOf(err) == fault.Damaged {
		err = nil
	}
	return append(got, said...), err
}

// IsSystem reports whether a part of a run holds the files of a system.
func IsSystem(source, part string) bool { return source == "image" && part == PartSystem }
