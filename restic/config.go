package restic

import (
	"context"
	"encoding/json"
	"fmt"
)

// A RepoConfig is the identity of a repository.
type RepoConfig struct {
	ID                string `json:"id"`
	Version           int    `json:"version"`
	ChunkerPolynomial string `json:"chunker_polynomial"`
}

// CatConfig reads the repository's configuration: the cheapest proof that it is
// there, opens with our password, and is the one we enrolled.
func (e *Engine) CatConfig(ctx context.Context, r Repo) (RepoConfig, error) {
	op := fmt.Sprintf("open repository %q", r.Name)
	if err := r.usable(op); err != nil {
		return RepoConfig{}, err
	}
	h, err := r.Gate.enter(ctx, op, light)
	if err != nil {
		return RepoConfig{}, err
	}
	defer h.release()
	return e.config(ctx, r, h)
}

// config is CatConfig inside the gate.
func (e *Engine) config(ctx context.Context, r Repo, h held) (v RepoConfig, err error) {
	op := fmt.Sprintf("open repository %q", r.Name)
	out, err := e.output(ctx, r, call{op: op, args: []string{"cat", "config"}, files: h})
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(out, &v); err != nil || !isFullID(v.ID) || v.Version == 0 {
		return RepoConfig{}, (&transcript{garbage: quoteStart(out)}).unproved(op, "printed no configuration")
	}
	return v, nil
}

func quoteStart(out []byte) string {
	if len(out) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%.120q", out)
}
