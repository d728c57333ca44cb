package evidence

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"saoluu/internal/fault"
)

// A Checkpoint states the size of a ledger and the root of its tree.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// Text returns the text that is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// SignCheckpoint returns c as a signed note. The origin must be the signer's name.
func SignCheckpoint(c Checkpoint, signer note.Signer) ([]byte, error) {
	if c.Origin != signer.Name() {
		return nil, fault.New(fault.Usage, fmt.Sprintf("sign a checkpoint of %q", c.Origin), fmt.Errorf("the key is that of %q", signer.Name()),
			"a site keeps its code for life: put site.code back")
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint: %w", err)
	}
	return signed, nil
}

// VerifyCheckpoint returns what a signed checkpoint says, once the signature
// and the origin are those of verifierKey. Extension lines are allowed and
// ignored, as are signatures of others.
func VerifyCheckpoint(signed []byte, verifierKey string) (Checkpoint, error) {
	verifier, _, err := publicOf(verifierKey)
	if err != nil {
		return Checkpoint{}, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return Checkpoint{}, fault.New(fault.Verification, "verify the checkpoint", err, "")
	}
	c, err := parseCheckpoint(opened.Text)
	if err != nil {
		return Checkpoint{}, fault.New(fault.Verification, "verify the checkpoint", err, "")
	}
	if c.Origin != verifier.Name() {
		return Checkpoint{}, fault.New(fault.Verification, "verify the checkpoint",
			fmt.Errorf("it is of %q, the key is that of %q", c.Origin, verifier.Name()), "")
	}
	return c, nil
}

// ReadCheckpoint returns what a checkpoint says without verifying its signature.
func ReadCheckpoint(signed []byte) (Checkpoint, error) {
	text, _, ok := bytes.Cut(signed, []byte("\n\n"))
	if !ok {
		return Checkpoint{}, errors.New("checkpoint has no signature")
	}
	return parseCheckpoint(string(text) + "\n")
}

func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] == "" {
		return Checkpoint{}, errors.New("checkpoint has fewer than three lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("size %q of the checkpoint is malformed", lines[1])
	}
	root, err := decodeHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("root of the checkpoint: %w", err)
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// decodeHash accepts only the one spelling of a hash in base64.
func decodeHash(s string) (tlog.Hash, error) {
	var h tlog.Hash
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != len(h) || base64.StdEncoding.EncodeToString(raw) != s {
		return h, fmt.Errorf("%q is not a hash", s)
	}
	copy(h[:], raw)
	return h, nil
}
