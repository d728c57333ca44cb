package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxRecord bounds run.json and facts.json, in bytes: as much as the catalog
// keeps of facts.
const maxRecord = 256 << 20

// A runReader reads the folder of one run.
type runReader struct {
	root    string
	record  *record
	facts   []byte
	account *account
	early   []earlyFile // before the first part
	ended   bool        // its list of files was seen
}

// An earlyFile is a small file that comes before the parts.
type earlyFile struct {
	name string
	text []byte
}

// readRuns reads a tar to its end and returns the ids of the runs in it, each of
// which is whole.
func readRuns(ctx context.Context, from *tar.Reader) (runs []string, err error) {
	var r *runReader
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		names := strings.SplitN(h.Name, "/", 3)
		if len(names) != 3 {
			return nil, fmt.Errorf("entry %q belongs to no run", h.Name)
		}
		root := path.Join(names[0], names[1])
		if r == nil || r.root != root {
			if r != nil && !r.ended {
				return nil, fmt.Errorf("run %q has no end", r.root)
			}
			r = &runReader{root: root}
			runs = append(runs, names[1])
		}
		if err := r.entry(h, strings.TrimSuffix(names[2], "/"), from); err != nil {
			return nil, err
		}
	}
	if r != nil && !r.ended {
		return nil, fmt.Errorf("run %q has no end", r.root)
	}
	return runs, nil
}

// entry takes the next entry, name relative to the folder of the run.
func (r *runReader) entry(h *tar.Header, name string, from io.Reader) error {
	switch {
	case r.ended:
		return fmt.Errorf("entry %q comes after the end of its run", h.Name)
	case name == SumsFile:
		return r.end(h, from)
	case r.account == nil && (name == "run.json" || name == "facts.json"):
		return r.keep(h, name, from)
	}
	if err := r.begin(); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		r.account.count(name, 0)
		return nil
	}
	_, err := r.account.file(name, from, io.Discard)
	return err
}

// keep reads what is known of the run.
func (r *runReader) keep(h *tar.Header, name string, from io.Reader) error {
	if h.Size > maxRecord {
		return fmt.Errorf("entry %q is too long", h.Name)
	}
	text, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	r.early = append(r.early, earlyFile{name, text})
	if name == "facts.json" {
		r.facts = text
		return nil
	}
	r.record = new(record)
	if err := json.Unmarshal(text, r.record); err != nil {
		return fmt.Errorf("entry %q: %w", h.Name, err)
	}
	if folder(r.record.Job, r.record.Run) != r.root {
		return fmt.Errorf("entry %q tells of run %q", h.Name, r.record.Run)
	}
	return nil
}

// begin opens the account, once what is known of the run was read.
func (r *runReader) begin() (err error) {
	if r.account != nil {
		return nil
	}
	if r.record == nil {
		return fmt.Errorf("run %q has no run.json", r.root)
	}
	if r.account, err = newAccount(*r.record, r.facts, nil); err != nil {
		return err
	}
	for _, e := range r.early {
		if _, err := r.account.file(e.name, bytes.NewReader(e.text), io.Discard); err != nil {
			return err
		}
	}
	r.early, r.facts = nil, nil
	return nil
}

// end compares the list of files with the files, and the run with what is known.
func (r *runReader) end(h *tar.Header, from io.Reader) error {
	if err := r.begin(); err != nil {
		return err
	}
	got, err := hashAll(from)
	if err != nil {
		return err
	}
	if want := hex.EncodeToString(r.account.sums.Sum(nil)); got != want {
		return fmt.Errorf("%q does not list the files before it", h.Name)
	}
	r.ended = true
	return r.account.closed()
}
