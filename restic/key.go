package restic

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

// A Key is one password that opens the repository (restic manual, "Encryption").
type Key struct {
	ID      string `json:"id"`
	Current bool   `json:"current"` // the one in use
	User    string `json:"userName"`
	Host    string `json:"hostName"`
	Created string `json:"created"` // local time of the maker, as restic prints it
}

// Keys lists the keys of the repository.
func (e *Engine) Keys(ctx context.Context, r Repo) ([]Key, error) {
	op := fmt.Sprintf("list keys of %q", r.Name)
	if err := r.usable(op); err != nil {
		return nil, err
	}
	h, err := r.Gate.enter(ctx, op, light)
	if err != nil {
		return nil, err
	}
	defer h.release()
	return e.keys(ctx, r, op, h)
}

func (e *Engine) keys(ctx context.Context, r Repo, op string, h held) ([]Key, error) {
	out, err := e.output(ctx, r, call{op: op, args: []string{"key", "list"}, files: h})
	if err != nil {
		return nil, err
	}
	var keys []Key
	err = json.Unmarshal(out, &keys)
	if err != nil || !slices.ContainsFunc(keys, func(k Key) bool { return k.Current }) {
		return nil, (&transcript{garbage: quoteStart(out)}).unproved(op, "printed no list with the key in use")
	}
	return keys, nil
}

var keySaved = regexp.MustCompile(`saved new key with ID ([0-9a-f]+)`)

// KeyAdd adds the password in a file as another key, and returns its id, which
// was seen in the list afterwards.
func (e *Engine) KeyAdd(ctx context.Context, r Repo, passwordFile string) (id string, err error) {
	op := fmt.Sprintf("add a key to %q", r.Name)
	if err := r.usable(op); err != nil {
		return "", err
	}
	h, err := r.Gate.enter(ctx, op, light)
	if err != nil {
		return "", err
	}
	defer h.release()
	c := call{op: op, args: []string{"key", "add", "--new-password-file", passwordFile}, writes: true, files: h}
	t, err := e.text(ctx, r, c, func(line string) {
		if m := keySaved.FindStringSubmatch(line); m != nil {
			id = m[1]
		}
	})
	if err != nil {
		return "", err
	}
	keys, err := e.keys(ctx, r, op, h)
	if err != nil {
		return "", err
	}
	if id == "" || !slices.ContainsFunc(keys, func(k Key) bool { return k.ID == id || len(k.ID) == 8 && k.ID == id[:8] }) {
		return "", t.unproved(op, "the new key is not in the list")
	}
	return id, nil
}
