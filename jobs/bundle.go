package jobs

import (
	"bytes"
	"context"

	"saoluu/evidence"
	"saoluu/internal/durable"
)

// Bundle gathers what an inspector needs to verify one ledger entry himself.
func (r *Runner) Bundle(ctx context.Context, seq int64) (evidence.Bundle, error) {
	signer, err := r.signer(ctx)
	if err != nil {
		return evidence.Bundle{}, err
	}
	entry, err := r.Catalog.Entry(ctx, seq)
	if err != nil {
		return evidence.Bundle{}, err
	}
	note, point, err := r.Checkpoint(ctx)
	if err != nil {
		return evidence.Bundle{}, err
	}
	hashes, err := r.Catalog.ProveInclusion(ctx, seq, point.Size)
	if err != nil {
		return evidence.Bundle{}, err
	}
	return evidence.Bundle{
		Entry: entry.JSON, Signer: signer,
		Proof: evidence.FormatProof(evidence.Proof{Index: seq, Hashes: hashes, Checkpoint: note}),
	}, nil
}

// WriteBundle writes a bundle to a file, whole or not at all.
func WriteBundle(path string, b evidence.Bundle) error {
	var text bytes.Buffer
	if err := evidence.Export(&text, b); err != nil {
		return err
	}
	return durable.WriteFile(path, text.Bytes(), 0o644)
}
