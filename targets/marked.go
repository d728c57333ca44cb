package targets

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"saoluu/internal/fault"
)

// MarkerName is the file that says whose target a place is. restic ignores
// files it does not know in a repository's root.
const MarkerName = "saoluu-target.json"

// maxSmall bounds the files that are read whole, in bytes: markers, snapshots and
// repository configurations have a few hundred.
const maxSmall = 1 << 20

// A storage is a flat view of the place below a repository's root. A file that is
// not there is fs.ErrNotExist; other errors are the kind's own, classed already.
type storage interface {
	// read returns a small file.
	read(ctx context.Context, name string) ([]byte, error)
	// create writes a file that is not there yet, and its folder with it.
	create(ctx context.Context, name string, content []byte) error
	// strange reports whether the place holds anything. A place that is not there
	// is not strange.
	strange(ctx context.Context) (bool, error)
}

// An owner says what a marker must say.
type owner struct {
	name string // of the target
	site string // code of the site that owns it
	id   string // identity enrolled before; empty: never enrolled
	at   string // the place, for people
}

// marker is the content of MarkerName.
type marker struct {
	ID     string `json:"id"`
	Site   string `json:"site"`
	Target string `json:"target"`
}

// ready checks that the place carries the identity that was enrolled and holds a
// repository. away is what it means that there is no marker.
func (o owner) ready(ctx context.Context, s storage, away *fault.Error) error {
	op := fmt.Sprintf("target %q", o.name)
	found, err := readMarker(ctx, s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return away
	case err != nil:
		return err
	case o.id == "":
		return fault.New(fault.WrongTarget, op, errors.New("it was never enrolled in this catalog"),
			"run \"saoluu init\" to enroll it")
	case found.ID != o.id:
		return fault.New(fault.WrongTarget, op, fmt.Errorf("%s holds another target (%q of site %q)", o.at, found.Target, found.Site),
			"bring back the storage that was enrolled, or give the new one a target of its own")
	}
	there, err := repositoryIn(ctx, s)
	if err == nil && !there {
		err = noRepository(op, o.at)
	}
	return err
}

func noRepository(op, at string) error {
	return fault.New(fault.NoRepository, op, fmt.Errorf("no repository in %s", at),
		"bring the repository back from another copy; saoluu does not make a new one over an enrolled target")
}

// enroll marks the place. One that is not empty and carries no marker is adopted
// only when it already is a restic repository; whether the key opens it is found
// out by the caller.
func (o owner) enroll(ctx context.Context, s storage) (string, error) {
	op := fmt.Sprintf("enroll target %q", o.name)
	found, err := readMarker(ctx, s)
	switch {
	case err == nil && found.Site == o.site && found.Target == o.name && (o.id == "" || o.id == found.ID):
		return found.ID, nil
	case err == nil:
		return "", o.taken(op, found)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	case o.id != "":
		return "", fault.New(fault.Absent, op, fmt.Errorf("it was enrolled before, and %s does not carry its marker", o.at),
			"bring back the storage that was enrolled")
	}
	if err := o.refuseStrangers(ctx, op, s); err != nil {
		return "", err
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", fault.New(fault.Failed, op, err, "")
	}
	m := marker{ID: hex.EncodeToString(id), Site: o.site, Target: o.name}
	text, err := json.Marshal(m)
	if err != nil {
		return "", fault.New(fault.Failed, op, err, "")
	}
	return m.ID, s.create(ctx, MarkerName, append(text, '\n'))
}

func (o owner) taken(op string, by marker) error {
	return fault.New(fault.Refused, op, fmt.Errorf("%s already is target %q of site %q", o.at, by.Target, by.Site), "choose an empty place")
}

// claimed fails when the place carries the marker of another target or site.
func (o owner) claimed(ctx context.Context, s storage) error {
	found, err := readMarker(ctx, s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && (found.Site != o.site || found.Target != o.name):
		return o.taken(fmt.Sprintf("target %q", o.name), found)
	}
	return err
}

// refuseStrangers fails when the place holds anything that is not a restic
// repository: filling somebody else's folder is how data get lost.
func (o owner) refuseStrangers(ctx context.Context, op string, s storage) error {
	if there, err := repositoryIn(ctx, s); there || err != nil {
		return err
	}
	strange, err := s.strange(ctx)
	if err == nil && strange {
		err = fault.New(fault.Refused, op, fmt.Errorf("%s is not empty", o.at), "choose an empty place")
	}
	return err
}

func readMarker(ctx context.Context, s storage) (marker, error) {
	text, err := s.read(ctx, MarkerName)
	if err != nil {
		return marker{}, err
	}
	var m marker
	if err := json.Unmarshal(text, &m); err != nil || m.ID == "" {
		return marker{}, fault.New(fault.WrongTarget, "", fmt.Errorf("%s cannot be understood", MarkerName),
			"see what wrote over it; saoluu does not write here until it is right")
	}
	return m, nil
}

// repositoryIn reports whether the place holds a repository.
func repositoryIn(ctx context.Context, s storage) (bool, error) {
	_, err := s.read(ctx, "config") // every restic repository has one
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// holds reports whether the place holds a snapshot. restic names the file of a
// snapshot by the SHA-256 of its content (restic design document, "Repository
// Layout"), so a file of another content is not that snapshot.
func holds(ctx context.Context, s storage, id string) (bool, error) {
	content, err := s.read(ctx, "snapshots/"+id)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(content)
	return len(content) > 0 && hex.EncodeToString(sum[:]) == id, nil
}
