package jobs

import (
	"bytes"
	"context"

	"saoluu/catalog"
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
	artifacts, err := r.artifacts(ctx, entry)
	if err != nil {
		return evidence.Bundle{}, err
	}
	return evidence.Bundle{
		Entry: entry.JSON, Signer: signer, Artifacts: artifacts,
		Proof: evidence.FormatProof(evidence.Proof{Index: seq, Hashes: hashes, Checkpoint: note}),
	}, nil
}

// artifacts are the files that a restore test left beside its entry; none for other
// entries.
func (r *Runner) artifacts(ctx context.Context, entry catalog.Entry) (map[string][]byte, error) {
	if entry.Kind != (catalog.TestFinished{}).Kind() {
		return nil, nil
	}
	for test, err := range r.Catalog.Tests(ctx, catalog.TestQuery{Newest: true}) {
		if err != nil {
			return nil, err
		}
		if test.Seq != entry.Seq {
			continue
		}
		files := map[string][]byte{}
		for _, a := range test.Artifacts {
			if files[a.Name], err = r.Catalog.Facts(ctx, a.SHA256); err != nil {
				return nil, err
			}
		}
		return files, nil
	}
	return nil, nil
}

// WriteBundle writes a bundle to a file, whole or not at all.
func WriteBundle(path string, b evidence.Bundle) error {
	var text bytes.Buffer
	if err := evidence.Export(&text, b); err != nil {
		return err
	}
	return durable.WriteFile(path, text.Bytes(), 0o644)
}
