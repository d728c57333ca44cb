package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/escrow"
	"saoluu/internal/fault"
	"saoluu/targets"
)

// DrillKey tries what a custodian would have to do when this machine is gone: the
// sealed key is opened with his identity alone, and a fresh restic opens the
// repository with what comes out. How it went goes to the ledger. It returns whose
// identity it was; empty when it is nobody's that the configuration names.
func (r *Runner) DrillKey(ctx context.Context, name, identity string) (custodian string, err error) {
	op := fmt.Sprintf("drill the key of target %q", name)
	state, err := r.Catalog.TargetState(ctx, name)
	if err != nil {
		return "", err
	}
	p, err := r.place(ctx, name)
	if err != nil {
		return "", err
	}
	identities, content, err := config.Identity(identity)
	if err != nil {
		return "", err
	}
	release, err := r.enliven("drill-" + newID(r.Now()))
	if err != nil {
		return "", err
	}
	defer release()
	if err := r.plugIn(ctx, p); err != nil {
		return "", err // a medium that lies in a safe says nothing of its key
	}
	custodian = r.whose(content)
	sealed, err := os.ReadFile(r.sealedPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return custodian, fault.New(fault.Usage, op, errors.New("its key is not sealed"), "name custodians in the configuration and run \"saoluu key seal\"")
	}
	if err != nil {
		return custodian, fault.New(fault.Unknown, op, err, "")
	}
	key, err := escrow.Open(sealed, identities)
	if err == nil {
		err = r.opens(ctx, op, p, key, state.Repository)
	}
	if err == nil {
		err = besideIs(ctx, op, p, state.Repository, sealed)
	}
	drilled := catalog.EscrowDrilled{Target: name, Custodian: custodian, OK: err == nil}
	if err != nil {
		drilled.Error, drilled.ErrorKind = fault.Public(err), string(fault.KindOf(err))
	}
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), drilled)
	return custodian, errors.Join(err, written)
}

// whose names the custodian to whom a private key belongs.
func (r *Runner) whose(identity []byte) string {
	for _, print := range escrow.FingerprintsOf(identity) {
		for _, c := range custodians(r.Config) {
			if escrow.Fingerprint(c.Recipient) == print {
				return c.Name
			}
		}
	}
	return ""
}

// opens tries a key on a repository.
func (r *Runner) opens(ctx context.Context, op string, p place, key []byte, repository string) error {
	drilled := &Shared{}
	defer drilled.forget()
	path, err := drilled.inMemory("credential:drilled", func() ([]byte, error) { return key, nil })
	if err != nil {
		return err
	}
	repo := ownKey(p)
	repo.PasswordFile = path
	opened, err := r.Engine.CatConfig(ctx, repo)
	switch {
	case fault.KindOf(err) == fault.WrongKey:
		return fault.New(fault.Verification, op, errors.New("the sealed key does not open the repository"), "run \"saoluu key seal\", then drill again")
	case err != nil:
		return err
	case opened.ID != repository:
		return fault.New(fault.WrongTarget, op, fmt.Errorf("it opens repository %.10s, and %.10s was enrolled", opened.ID, repository), "find out who replaced it")
	}
	return nil
}

// besideIs compares what lies beside the repository with the sealed key here: it
// is what a recovery begins with.
func besideIs(ctx context.Context, op string, p place, repository string, sealed []byte) error {
	keeper, can := p.target.(targets.Keeper)
	if !can {
		return nil
	}
	kept, err := keeper.Kept(ctx, keysFolder)
	if err == nil && !bytes.Equal(kept[repository+".age"], sealed) {
		err = fault.New(fault.Verification, op, errors.New("the sealed key beside the repository is missing or another one"), "run \"saoluu key seal\", then drill again")
	}
	return err
}
