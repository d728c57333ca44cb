package jobs

import (
	"context"
	"errors"

	"saoluu/catalog"
	"saoluu/evidence"
	"saoluu/internal/fault"
)

// Checkpoint signs the ledger as it stands, keeps the signed note in the
// catalog, and returns it with what it says.
func (r *Runner) Checkpoint(ctx context.Context) (note []byte, said evidence.Checkpoint, err error) {
	signer, err := r.signer(ctx)
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

// signer loads the key of the ledger: the one its first entry names, and no other.
func (r *Runner) signer(ctx context.Context) (*evidence.Signer, error) {
	signer, err := evidence.LoadSigner(LedgerKeyPath(r.Config))
	if err != nil {
		return nil, err
	}
	first, err := r.Catalog.Entry(ctx, 0)
	if err != nil {
		return nil, err
	}
	event, err := first.Decode()
	if err != nil {
		return nil, err
	}
	opened, ok := event.(catalog.SiteOpened)
	if !ok || opened.Key != signer.VerifierKey() {
		return nil, fault.New(fault.WrongKey, "sign the ledger", errors.New("the key in "+LedgerKeyPath(r.Config)+" is not the one this ledger was opened with"),
			"put the ledger's own key back from its copy")
	}
	return signer, nil
}
