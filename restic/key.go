package restic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"saoluu/internal/fault"
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

// KeyRemove removes another key than the one in use, alone, and looks whether it
// is gone. The id may be a prefix of 8 digits or more. One that is not there is no
// error.
func (e *Engine) KeyRemove(ctx context.Context, r Repo, id string) error {
	op := fmt.Sprintf("remove a key from %q", r.Name)
	if err := r.usable(op); err != nil {
		return err
	}
	if len(id) < 8 || strings.Trim(id, "0123456789abcdef") != "" {
		return fault.New(fault.Usage, op, fmt.Errorf("%q is not the id of a key", id), "")
	}
	h, err := r.Gate.enter(ctx, op, exclusive)
	if err != nil {
		return err
	}
	defer h.release()
	keys, err := e.keys(ctx, r, op, h)
	if err != nil || !hasKey(keys, id) {
		return err
	}
	_, err = e.text(ctx, r, call{op: op, args: []string{"key", "remove"}, tail: []string{id}, writes: true, files: h}, func(string) {})
	after, lerr := e.keys(ctx, r, op, h)
	if lerr != nil {
		return errors.Join(lerr, err)
	}
	if hasKey(after, id) {
		kind := fault.KindOf(err)
		if kind == "" {
			kind = fault.Failed
		}
		return fault.New(kind, op, errors.Join(fmt.Errorf("key %.8s still opens it", id), err), "see whether the storage is append-only, locked or read-only")
	}
	return nil
}

func hasKey(keys []Key, id string) bool {
	return slices.ContainsFunc(keys, func(k Key) bool { return SameKey(k.ID, id) })
}

// SameKey reports whether two ids, either of which may be short, name one key.
func SameKey(a, b string) bool {
	n := min(len(a), len(b))
	return n >= 8 && a[:n] == b[:n]
}
