package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"saoluu/evidence"
	"saoluu/internal/fault"
)

// An edge is the right edge of a Merkle tree of size leaves: the roots of the
// full subtrees the size is made of, by level. It is all that adding a leaf
// needs.
type edge struct {
	size  int64
	roots [63]tlog.Hash
}

// add adds a leaf and returns the hashes it completes, lowest level first: the
// same as tlog.StoredHashes.
func (e *edge) add(entry []byte, hashes []byte) []byte {
	h := tlog.RecordHash(entry)
	hashes = append(hashes, h[:]...)
	level := 0
	for ; e.size>>level&1 == 1; level++ {
		h = tlog.NodeHash(e.roots[level], h)
		hashes = append(hashes, h[:]...)
	}
	e.roots[level] = h
	e.size++
	return hashes
}

// root returns the hash of the whole tree.
func (e *edge) root() tlog.Hash {
	if e.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // the hash of nothing needs no reader
		return h
	}
	level := bits.TrailingZeros64(uint64(e.size))
	h := e.roots[level]
	for level++; e.size>>level != 0; level++ {
		if e.size>>level&1 == 1 {
			h = tlog.NodeHash(e.roots[level], h)
		}
	}
	return h
}

// loadEdge reads the edge of a ledger of size entries.
func loadEdge(ctx context.Context, q querier, size int64) (edge, error) {
	e := edge{size: size}
	read := hashReader(ctx, q)
	for level := 0; size>>level != 0; level++ {
		if size>>level&1 == 0 {
			continue
		}
		h, err := read([]int64{tlog.StoredHashIndex(level, size>>level-1)})
		if err != nil {
			return edge{}, err
		}
		e.roots[level] = h[0]
	}
	return e, nil
}

// hashReader finds stored hashes: hash n of a level is completed by entry
// (n+1)<<level - 1 and lies at that level's place in its row.
func hashReader(ctx context.Context, q querier) tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			level, n := tlog.SplitStoredHashIndex(index)
			seq := (n+1)<<level - 1
			var row []byte
			if err := q.QueryRowContext(ctx, `SELECT hashes FROM ledger WHERE seq=?`, seq).Scan(&row); err != nil {
				return nil, fmt.Errorf("hashes of entry %d: %w", seq, err)
			}
			if len(row) < (level+1)*tlog.HashSize {
				return nil, fault.New(fault.Damaged, fmt.Sprintf("hashes of entry %d", seq), nil, `run "saoluu catalog verify"`)
			}
			copy(out[i][:], row[level*tlog.HashSize:])
		}
		return out, nil
	}
}

// TreeSize returns the number of entries.
func (c *Catalog) TreeSize(ctx context.Context) (int64, error) {
	size, err := treeSize(ctx, c.read)
	return size, classify("read the ledger", err)
}

func treeSize(ctx context.Context, q querier) (int64, error) {
	var size int64
	err := q.QueryRowContext(ctx, `SELECT coalesce(max(seq)+1, 0) FROM ledger`).Scan(&size)
	return size, err
}

// Root returns the root of the ledger's first size entries.
func (c *Catalog) Root(ctx context.Context, size int64) (tlog.Hash, error) {
	e, err := loadEdge(ctx, c.read, size)
	if err != nil {
		return tlog.Hash{}, classify(fmt.Sprintf("read the root of size %d", size), err)
	}
	return e.root(), nil
}

// Checkpoint signs the ledger as it is now, stores the signed note and returns
// it. A second call without an entry between returns the stored note.
func (c *Catalog) Checkpoint(ctx context.Context, signer note.Signer) ([]byte, error) {
	const op = "make a checkpoint"
	size, err := c.TreeSize(ctx)
	if err != nil {
		return nil, err
	}
	var stored []byte
	err = c.read.QueryRowContext(ctx, `SELECT note FROM checkpoints WHERE size=?`, size).Scan(&stored)
	if err == nil {
		return stored, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return nil, classify(op, err)
	}
	root, err := c.Root(ctx, size)
	if err != nil {
		return nil, err
	}
	signed, err := evidence.SignCheckpoint(evidence.Checkpoint{Origin: evidence.Origin(c.options.Site), Size: size, Root: root}, signer)
	if err != nil {
		return nil, err
	}
	err = c.transact(ctx, func(ctx context.Context, w *writer) error {
		return w.exec(ctx, `INSERT OR IGNORE INTO checkpoints(size, at, note) VALUES(?,?,?)`, size, unix(c.options.Now()), signed)
	})
	return signed, classify(op, err)
}

// Checkpoints returns all stored checkpoints, smallest first.
func (c *Catalog) Checkpoints(ctx context.Context) ([][]byte, error) {
	var notes [][]byte
	err := each(ctx, c.read, `SELECT note FROM checkpoints ORDER BY size`, nil, func(rows *sql.Rows) error {
		var n []byte
		err := rows.Scan(&n)
		notes = append(notes, n)
		return err
	})
	return notes, classify("read checkpoints", err)
}

// CheckpointAt returns the smallest stored checkpoint that covers the entry, or
// ErrMissing.
func (c *Catalog) CheckpointAt(ctx context.Context, seq int64) ([]byte, error) {
	var n []byte
	err := c.read.QueryRowContext(ctx, `SELECT note FROM checkpoints WHERE size>? ORDER BY size LIMIT 1`, seq).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrMissing
	}
	return n, classify("read a checkpoint", err)
}

// ProveInclusion returns the proof that entry seq is in the tree of the first
// size entries, for evidence.FormatProof.
func (c *Catalog) ProveInclusion(ctx context.Context, seq, size int64) ([]tlog.Hash, error) {
	p, err := tlog.ProveRecord(size, seq, hashReader(ctx, c.read))
	return p, classify(fmt.Sprintf("prove that entry %d is in size %d", seq, size), err)
}

// ProveConsistency returns the proof that the tree of size newer begins with
// the whole tree of size older, for evidence.VerifyGrowth.
func (c *Catalog) ProveConsistency(ctx context.Context, older, newer int64) ([]tlog.Hash, error) {
	if older <= 0 || older >= newer {
		return nil, nil
	}
	p, err := tlog.ProveTree(newer, older, hashReader(ctx, c.read))
	return p, classify(fmt.Sprintf("prove that size %d grew from size %d", newer, older), err)
}
