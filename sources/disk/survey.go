package disk

import (
	"cmp"
	"context"
	"slices"
)

// A Survey says which blocks of an image are stored, and why.
type Survey struct {
	Table  Table
	Stored *Set
	// Free says for each partition, by its number, why its free space is stored too;
	// empty: it is left out.
	Free map[int]string
}

// An extent is bytes of an image.
type extent struct{ at, length int64 }

// Survey reads the partition table and asks each file system which of its blocks are
// free. With trust unset nothing is believed to be free: the file systems may be
// changing. Below dir, an empty folder, partitions are shown to programs meanwhile.
func (i *Image) Survey(ctx context.Context, dir string, trust bool) (*Survey, error) {
	s := &Survey{Stored: NewSet(i.Size), Free: map[int]string{}}
	var err error
	if s.Table, err = ReadTable(i, i.Size, i.Sector); err != nil {
		return nil, err
	}
	var free []extent
	if trust && s.Table.Trouble == "" {
		if free, err = i.free(ctx, s, dir); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(free, func(a, b extent) int { return cmp.Compare(a.at, b.at) })
	err = i.Data(func(offset, length int64) { s.Stored.addBut(offset, length, free) })
	return s, err
}

// addBut adds a run of bytes but for those that are free.
func (s *Set) addBut(offset, length int64, free []extent) {
	end := offset + length
	n, _ := slices.BinarySearchFunc(free, offset, func(f extent, at int64) int {
		if f.at+f.length <= at {
			return -1
		}
		return 1
	})
	for ; n < len(free) && free[n].at < end; n++ {
		s.Add(offset, free[n].at-offset)
		offset = max(offset, free[n].at+free[n].length)
	}
	s.Add(offset, end-offset)
}
