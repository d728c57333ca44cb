package targets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"saoluu/internal/fault"
	"saoluu/restic"
)

// REST is a repository on a rest-server. The protocol has no room for a file of
// ours (restic documentation, "REST Backend"), so the target is told by its
// repository: the digest of the encrypted file config, which never changes.
type REST struct {
	Name       string
	URL        *url.URL // of the repository, without user
	User       string
	Password   string // of User; may be empty
	CA         string // file with the authorities to believe; empty: the system's
	ID         string // identity enrolled before; empty: never enrolled
	Declared   Declared
	Repository restic.Repo // its URL and Env come from RESTRepo

	once   sync.Once
	client *http.Client
	broken error
}

var (
	_ Target    = (*REST)(nil)
	_ Enroller  = (*REST)(nil)
	_ Measurer  = (*REST)(nil)
	_ Finder    = (*REST)(nil)
	_ Guarded   = (*REST)(nil)
	_ KeyKeeper = (*REST)(nil)
)

// RESTRepo returns the address and environment by which restic reaches the target
// (restic manual, "REST Server"). The address may hold the password.
func (r *REST) RESTRepo() (address string, env []string) {
	u := *r.URL
	if r.User != "" {
		u.User = url.UserPassword(r.User, r.Password)
	}
	if r.CA != "" {
		env = append(env, "RESTIC_CACERT="+r.CA)
	}
	return "rest:" + u.JoinPath("/").String(), env
}

// Repo returns the repository on the server.
func (r *REST) Repo() restic.Repo { return r.Repository }

// Ready checks that the server answers, lets us in, and holds the repository that
// was enrolled.
func (r *REST) Ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	op := fmt.Sprintf("target %q", r.Name)
	found, err := r.identity(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return noRepository(op, r.URL.Redacted())
	case err != nil:
		return err
	case r.ID == "":
		return fault.New(fault.WrongTarget, op, errors.New("it was never enrolled in this catalog"), "run \"saoluu init\" to enroll it")
	case found != r.ID:
		return fault.New(fault.WrongTarget, op, fmt.Errorf("%s holds another repository than the one enrolled", r.URL.Redacted()),
			"correct the url, or give the new repository a target of its own")
	}
	return nil
}

// Enroll returns the identity of the repository, or "" while there is none.
func (r *REST) Enroll(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	found, err := r.identity(ctx)
	op := fmt.Sprintf("enroll target %q", r.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.ID == "":
		return "", nil
	case errors.Is(err, fs.ErrNotExist):
		return "", fault.New(fault.Absent, op, fmt.Errorf("it was enrolled before, and there is no repository at %s", r.URL.Redacted()), "find out what became of it")
	case err != nil:
		return "", err
	case r.ID != "" && r.ID != found:
		return "", fault.New(fault.Refused, op, fmt.Errorf("%s holds another repository than the one enrolled", r.URL.Redacted()), "choose another url")
	}
	return found, nil
}

func (r *REST) identity(ctx context.Context) (string, error) {
	content, err := r.get(ctx, "config")
	sum := sha256.Sum256(content)
	return "config-" + hex.EncodeToString(sum[:]), err
}

// HasRepository asks for the repository's configuration.
func (r *REST) HasRepository(ctx context.Context) (bool, error) {
	_, err := r.identity(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// HasSnapshot fetches the snapshot and compares its content with its name.
func (r *REST) HasSnapshot(ctx context.Context, id string) (bool, error) {
	content, err := r.get(ctx, "snapshots/"+id)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	sum := sha256.Sum256(content)
	return err == nil && hex.EncodeToString(sum[:]) == id, err
}

// PutKey writes a key file into the repository.
func (r *REST) PutKey(ctx context.Context, id string, content []byte) error {
	answer, err := r.ask(ctx, http.MethodPost, "keys/"+id, content)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fault.New(fault.Denied, fmt.Sprintf("target %q", r.Name), fmt.Errorf("the server answers %s to a new key", answer.Status), "")
	}
	return nil
}

// Separation compares the server with the machines and disks the data lie on.
func (r *REST) Separation(ctx context.Context, locations []string) (Separation, error) {
	return separation(ctx, machine(), HostLocation(r.URL.Hostname()), r.Declared, locations)
}

// Challenge asks the server to delete a pack that does not exist. A server that
// only appends refuses before it looks; another one says that it is not there.
func (r *REST) Challenge(ctx context.Context) (Challenge, error) {
	answer, err := r.ask(ctx, http.MethodDelete, "data/"+strings.Repeat("0", 2*sha256.Size), nil)
	if err != nil {
		return Challenge{}, err
	}
	defer answer.Body.Close()
	how := "DELETE of a pack answered " + answer.Status
	switch answer.StatusCode {
	case http.StatusForbidden:
		return Challenge{Refused: true, How: how}, nil
	case http.StatusOK, http.StatusNotFound:
		return Challenge{How: how}, nil
	}
	return Challenge{}, fault.New(fault.Unknown, fmt.Sprintf("target %q", r.Name), errors.New(how), "see whether the server lets us in at all")
}

// ask sends a request about a file of the repository, again for a while when the
// server is busy.
func (r *REST) ask(ctx context.Context, method, name string, body []byte) (*http.Response, error) {
	r.once.Do(func() {
		t, err := transport(r.Name, r.CA)
		r.client, r.broken = &http.Client{Transport: t, Timeout: 3 * dialTimeout}, err
	})
	if r.broken != nil {
		return nil, r.broken
	}
	for pause := 200 * time.Millisecond; ; pause *= 2 {
		answer, err := r.send(ctx, method, name, body)
		if err != nil || !busy(answer.StatusCode) || pause > maxPause {
			return answer, netFault(r.Name, err)
		}
		answer.Body.Close()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// maxPause bounds the pause before a request is made again, and with it how often:
// a storm of a few seconds must not cost a night's run.
const maxPause = 2 * time.Second

// busy reports whether a gateway or server asks to be left alone for a while.
func busy(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (r *REST) send(ctx context.Context, method, name string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, r.URL.JoinPath(name).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if r.User != "" {
		request.SetBasicAuth(r.User, r.Password)
	}
	return r.client.Do(request)
}

// get returns a small file of the repository.
func (r *REST) get(ctx context.Context, name string) ([]byte, error) {
	answer, err := r.ask(ctx, http.MethodGet, name, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	op := fmt.Sprintf("target %q", r.Name)
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fault.New(fault.Absent, op, fmt.Errorf("%s: %w", name, fs.ErrNotExist), "")
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fault.New(fault.Denied, op, fmt.Errorf("the server answers %s", answer.Status),
			"check user and user_password, and that the url begins with the user's name when repositories are private")
	default:
		hint := "see whether a rest-server listens there"
		if busy(answer.StatusCode) {
			hint = "it is tried again later; ask who runs the server if it stays so"
		}
		return nil, fault.New(fault.Absent, op, fmt.Errorf("the server answers %s", answer.Status), hint)
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxSmall))
	return content, netFault(r.Name, err)
}
