package jobs

import (
	"context"

	"saoluu/evidence"
)

// Checkpoint signs the ledger as it stands, keeps the signed note in the
// catalog, and returns it with what it says.
func (r *Runner) Checkpoint(ctx context.Context) (note []byte, said evidence.Checkpoint, err error) {
	signer, err := evidence.LoadSigner(LedgerKeyPath(r.Config))
	if err != nil {
		return nil, evidence.Checkpoint{}, err
	}
	note, err = r.Catalog.Checkpoint(ctx, signer)
	if err != nil {
		return nil, evidence.Checkpoint{}, err
	}
	said, err = evidence.VerifyCheckpoint(note, signer.VerifierKey())
	return note, said, err
}
