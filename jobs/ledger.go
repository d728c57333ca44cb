package jobs

import (
	"context"

	"saoluu/catalog"
	"saoluu/evidence"
)

// Checkpoint signs the ledger as it stands and keeps the signed note.
func (r *Runner) Checkpoint(ctx context.Context) (catalog.Signed, error) {
	signer, err := evidence.LoadSigner(LedgerKeyPath(r.Config))
	if err != nil {
		return catalog.Signed{}, err
	}
	return r.Catalog.Checkpoint(ctx, signer)
}
