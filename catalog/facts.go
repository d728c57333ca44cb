package catalog

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"saoluu/internal/fault"
)

// maxFacts bounds a facts document after decompression: a million facts of 100
// bytes, with room to spare.
const maxFacts = 256 << 20

// PutFacts stores a document by its SHA-256 and returns that in hexadecimal.
// Storing the same document again changes nothing.
func (c *Catalog) PutFacts(ctx context.Context, doc []byte) (string, error) {
	const op = "store facts"
	if len(doc) > maxFacts {
		return "", fault.New(fault.Failed, op, fmt.Errorf("%d bytes are more than %d", len(doc), maxFacts), `use "facts = \"counts\"" or "sampled" for this job`)
	}
	sum := sha256.Sum256(doc)
	id := hex.EncodeToString(sum[:])
	packed, err := c.packer.pack(doc)
	if err != nil {
		return "", classify(op, err)
	}
	return id, classify(op, c.transact(ctx, func(ctx context.Context, w *writer) error {
		return w.exec(ctx, `INSERT OR IGNORE INTO facts(sha256, data) VALUES(?,?)`, id, packed)
	}))
}

// A packer compresses. Its writer, once made, is kept: a new one takes 800 KiB,
// which for thousands of small documents costs more than all else about a run.
type packer struct {
	mu sync.Mutex
	z  *gzip.Writer
}

func (p *packer) pack(doc []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var packed bytes.Buffer
	if p.z == nil {
		p.z = gzip.NewWriter(&packed)
	} else {
		p.z.Reset(&packed)
	}
	_, err := p.z.Write(doc)
	if err == nil {
		err = p.z.Close()
	}
	return packed.Bytes(), err
}

// Facts returns the document with this SHA-256, or an error that wraps
// ErrMissing. A document that does not have its digest any more is
// fault.Damaged.
func (c *Catalog) Facts(ctx context.Context, id string) ([]byte, error) {
	op := fmt.Sprintf("read facts %s", id)
	var packed []byte
	err := c.read.QueryRowContext(ctx, `SELECT data FROM facts WHERE sha256=?`, id).Scan(&packed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("facts %s: %w", id, ErrMissing)
	}
	if err != nil {
		return nil, classify(op, err)
	}
	doc, err := unpackFacts(id, packed)
	if err != nil {
		return nil, fault.New(fault.Damaged, op, err, `run "saoluu catalog verify"`)
	}
	return doc, nil
}

func unpackFacts(id string, packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	doc, err := io.ReadAll(io.LimitReader(z, maxFacts+1))
	if err != nil {
		return nil, err
	}
	if len(doc) > maxFacts {
		return nil, errors.New("the document is too long")
	}
	if sum := sha256.Sum256(doc); hex.EncodeToString(sum[:]) != id {
		return nil, errors.New("the document has another digest")
	}
	return doc, nil
}
