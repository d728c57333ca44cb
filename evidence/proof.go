package evidence

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"saoluu/internal/fault"
)

const proofHeader = "c2sp.org/tlog-proof@v1"

// maxProofHashes is the height of the highest tree that int64 can count.
const maxProofHashes = 63

// A Proof says that the leaf Index is in the tree of Checkpoint.
type Proof struct {
	Index      int64
	Hashes     []tlog.Hash // from the leaf's sibling to the child of the root
	Checkpoint []byte      // signed note, word for word
}

// FormatProof returns p in the form of c2sp.org/tlog-proof, without extra data.
func FormatProof(p Proof) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nindex %d\n", proofHeader, p.Index)
	for _, h := range p.Hashes {
		fmt.Fprintf(&b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return []byte(b.String())
}

// ParseProof reads a proof. A proof with an "extra" line is refused: saoluu
// writes none, and extra data are not covered by any signature.
func ParseProof(data []byte) (Proof, error) {
	head, checkpoint, ok := strings.Cut(string(data), "\n\n")
	if !ok {
		return Proof{}, errors.New("proof has no checkpoint")
	}
	lines := strings.Split(head, "\n")
	if lines[0] != proofHeader || len(lines) < 2 {
		return Proof{}, fmt.Errorf("proof does not begin with %q", proofHeader)
	}
	text, ok := strings.CutPrefix(lines[1], "index ")
	index, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || index < 0 || strconv.FormatInt(index, 10) != text {
		return Proof{}, errors.New("proof has no index line")
	}
	if len(lines)-2 > maxProofHashes {
		return Proof{}, errors.New("proof has too many hashes")
	}
	p := Proof{Index: index, Checkpoint: []byte(checkpoint)}
	for _, line := range lines[2:] {
		h, err := decodeHash(line)
		if err != nil {
			return Proof{}, fmt.Errorf("proof: %w", err)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// VerifyEntry verifies that the holder of verifierKey has signed a ledger that
// contains entry, by a proof in the form of FormatProof. The errors are
// fault.Verification.
func VerifyEntry(entry, proof []byte, verifierKey string) (Entry, Checkpoint, error) {
	fail := func(err error) (Entry, Checkpoint, error) {
		return Entry{}, Checkpoint{}, fault.New(fault.Verification, "verify the entry", err, "")
	}
	e, err := ParseEntry(entry)
	if err != nil {
		return fail(err)
	}
	p, err := ParseProof(proof)
	if err != nil {
		return fail(err)
	}
	c, err := VerifyCheckpoint(p.Checkpoint, verifierKey)
	if err != nil {
		return Entry{}, Checkpoint{}, err
	}
	if e.Seq != p.Index {
		return fail(fmt.Errorf("the entry is number %d, the proof is about number %d", e.Seq, p.Index))
	}
	if p.Index >= c.Size {
		return fail(fmt.Errorf("entry %d is not below the size %d of the checkpoint", p.Index, c.Size))
	}
	if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, tlog.RecordHash(entry)); err != nil {
		return fail(fmt.Errorf("entry %d is not in the signed ledger of size %d: %w", e.Seq, c.Size, err))
	}
	return e, c, nil
}

// VerifyGrowth verifies that the ledger of checkpoint newer begins with the
// whole ledger of checkpoint older. Both must be verified already.
func VerifyGrowth(older, newer Checkpoint, proof []tlog.Hash) error {
	op := fmt.Sprintf("verify that size %d grew from size %d", newer.Size, older.Size)
	var err error
	switch {
	case older.Origin != newer.Origin:
		err = fmt.Errorf("the origins %q and %q differ", older.Origin, newer.Origin)
	case older.Size > newer.Size:
		err = errors.New("it is smaller")
	case older.Size == newer.Size && older.Root != newer.Root:
		err = errors.New("the roots differ")
	case older.Size == 0 || older.Size == newer.Size:
	default:
		err = tlog.CheckTree(tlog.TreeProof(proof), newer.Size, newer.Root, older.Size, older.Root)
	}
	if err != nil {
		return fault.New(fault.Verification, op, err, "keep both checkpoints: one of them shows a ledger that was changed")
	}
	return nil
}
