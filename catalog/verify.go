package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"saoluu/evidence"
	"saoluu/internal/fault"
)

// A Problem is one thing Verify found wrong.
type Problem struct {
	Where string // "entry 7", "checkpoint of size 42", "table runs"
	What  string
}

// A VerifyResult says what Verify looked at and found.
type VerifyResult struct {
	Entries     int64
	Root        string // base64, as in a checkpoint
	Checkpoints int
	Facts       int // documents whose digest was checked
	Problems    int
}

// maxDifferences is how many rows of one table are reported.
const maxDifferences = 5

// Verify computes the whole Merkle tree again from the entries and compares it
// with the stored hashes and with every stored checkpoint, whose signatures it
// verifies with the key of SiteOpened; checks every facts document against its
// digest; and replays the ledger into fresh tables, which must be those of the
// catalog. Every difference goes to report; the error is only for a
// verification that could not be done. It may run beside writers.
func (c *Catalog) Verify(ctx context.Context, report func(Problem)) (VerifyResult, error) {
	const op = "verify the catalog"
	conn, err := c.read.Conn(ctx)
	if err != nil {
		return VerifyResult{}, classify(op, err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, `BEGIN`); err != nil { // one state of the catalog for all that follows
		return VerifyResult{}, classify(op, err)
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), `ROLLBACK`) }()
	v := verification{conn: conn, checkpoints: map[int64][]byte{}}
	v.report = func(where, what string) {
		v.result.Problems++
		report(Problem{where, what})
	}
	if err := v.all(ctx); err != nil {
		return v.result, classify(op, err)
	}
	return v.result, nil
}

type verification struct {
	conn        *sql.Conn
	report      func(where, what string)
	result      VerifyResult
	edge        edge
	verifier    string           // of SiteOpened
	checkpoints map[int64][]byte // by size
}

func (v *verification) all(ctx context.Context) error {
	if err := each(ctx, v.conn, `SELECT size, note FROM checkpoints`, nil, func(rows *sql.Rows) error {
		var size int64
		var n []byte
		err := rows.Scan(&size, &n)
		v.checkpoints[size] = n
		return err
	}); err != nil {
		return err
	}
	fresh, closeFresh, err := freshTables(ctx)
	if err != nil {
		return err
	}
	defer closeFresh()
	replayed, err := v.ledger(ctx, fresh)
	if err != nil {
		return err
	}
	for size := range v.checkpoints {
		v.report(fmt.Sprintf("checkpoint of size %d", size), fmt.Sprintf("the ledger has only %d entries", v.edge.size))
	}
	v.result.Entries, v.result.Root = v.edge.size, v.edge.root().String()
	if err := v.facts(ctx); err != nil || !replayed {
		return err
	}
	for _, t := range derivedTables() {
		if err := v.compare(ctx, fresh.conn, t[0], t[1]); err != nil {
			return err
		}
	}
	return nil
}

// freshTables makes empty derived tables in a temporary file.
func freshTables(ctx context.Context) (*writer, func(), error) {
	dir, err := os.MkdirTemp("", "saoluu-verify-")
	if err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, "replay.db"), url.Values{"_journal_mode": {"OFF"}, "_synchronous": {"OFF"}, "_pragma": {"temp_store(MEMORY)"}}))
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	closeAll := func() {
		_ = db.Close() // a temporary file nobody reads again
		_ = os.RemoveAll(dir)
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, derivedSchema+`; BEGIN`)
	}
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	w := &writer{conn: conn, prepared: map[string]*sql.Stmt{}}
	w.project = newProjection(w)
	w.project.bulk = true
	return w, closeAll, nil
}

// ledger goes through all entries. It reports false when they could not be
// replayed, so that comparing tables would say nothing.
func (v *verification) ledger(ctx context.Context, fresh *writer) (bool, error) {
	size, err := treeSize(ctx, v.conn)
	if err != nil {
		return false, err
	}
	v.checkpoint(0)
	replays := true
	err = each(ctx, v.conn, `SELECT seq, at, kind, entry, hashes FROM ledger ORDER BY seq`, nil, func(rows *sql.Rows) error {
		var r replayed
		if err := rows.Scan(&r.seq, &r.at, &r.kind, &r.line, &r.hashes); err != nil {
			return err
		}
		if !v.entry(&r) || !replays {
			replays = false
			return nil
		}
		if err := fresh.project.apply(ctx, r.seq, r.at, r.event); err != nil {
			if fault.KindOf(err) == fault.Failed {
				return err
			}
			v.report(fmt.Sprintf("entry %d", r.seq), err.Error())
			replays = false
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if v.edge.size != size {
		v.report("ledger", fmt.Sprintf("%d entries are there, the last one is number %d", v.edge.size, size-1))
		replays = false
	}
	return replays, fresh.project.flush(ctx)
}

// entry checks one row and adds its leaf to the tree. It reports false for a
// row that cannot be replayed.
func (v *verification) entry(r *replayed) bool {
	where := fmt.Sprintf("entry %d", r.seq)
	if r.seq != v.edge.size {
		v.report(where, fmt.Sprintf("number %d is missing before it", v.edge.size))
	}
	hashes := v.edge.add(r.line, nil)
	if !bytes.Equal(hashes, r.hashes) {
		v.report(where, "its hashes are not those of the text")
	}
	v.checkpoint(v.edge.size)
	parts, err := evidence.ParseEntry(r.line)
	if err != nil {
		v.report(where, err.Error())
		return false
	}
	if parts.Seq != r.seq || parts.At.Unix() != r.at || parts.Kind != word(kinds(), r.kind) {
		v.report(where, "its number, time or kind is not that of the row")
		return false
	}
	if r.event, err = decode(parts.Kind, parts.Body); err != nil {
		v.report(where, err.Error())
		return false
	}
	if site, ok := r.event.(SiteOpened); ok && r.seq == 0 {
		v.verifier = site.Key
	}
	return true
}

// checkpoint compares the tree, as it is at size, with a checkpoint of that size.
func (v *verification) checkpoint(size int64) {
	signed, ok := v.checkpoints[size]
	if !ok {
		return
	}
	delete(v.checkpoints, size)
	v.result.Checkpoints++
	where := fmt.Sprintf("checkpoint of size %d", size)
	if v.verifier == "" {
		v.report(where, "the ledger names no key to verify it with")
		return
	}
	said, err := evidence.VerifyCheckpoint(signed, v.verifier)
	switch {
	case err != nil:
		v.report(where, err.Error())
	case said.Size != size:
		v.report(where, fmt.Sprintf("it is about size %d", said.Size))
	case said.Root != v.edge.root():
		v.report(where, "the entries before it are not those that were signed")
	}
}

func (v *verification) facts(ctx context.Context) error {
	return each(ctx, v.conn, `SELECT sha256, data FROM facts ORDER BY sha256`, nil, func(rows *sql.Rows) error {
		var id string
		var packed []byte
		if err := rows.Scan(&id, &packed); err != nil {
			return err
		}
		v.result.Facts++
		if _, err := unpackFacts(id, packed); err != nil {
			v.report("facts "+id, err.Error())
		}
		return nil
	})
}

// compare walks one table in both databases side by side.
func (v *verification) compare(ctx context.Context, fresh *sql.Conn, table, order string) error {
	query := `SELECT * FROM ` + table + ` ORDER BY ` + order
	have, err := newRowReader(ctx, v.conn, query)
	if err != nil {
		return err
	}
	defer have.rows.Close()
	want, err := newRowReader(ctx, fresh, query)
	if err != nil {
		return err
	}
	defer want.rows.Close()
	where := "table " + table
	for found := 0; found < maxDifferences; {
		is, err := have.next()
		if err != nil {
			return err
		}
		should, err := want.next()
		if err != nil {
			return err
		}
		switch {
		case is == nil && should == nil:
			return nil
		case is == nil || should == nil:
			v.report(where, fmt.Sprintf("it has %s rows than the ledger tells of", map[bool]string{true: "fewer", false: "more"}[is == nil]))
			return nil
		}
		if text := have.difference(is, should); text != "" {
			found++
			v.report(where, text)
		}
	}
	v.report(where, "more differences are left out")
	return nil
}

// A rowReader reads rows of any shape.
type rowReader struct {
	rows    *sql.Rows
	columns []string
}

func newRowReader(ctx context.Context, q querier, query string) (*rowReader, error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	columns, err := rows.Columns()
	if err != nil {
		return nil, errors.Join(err, rows.Close())
	}
	return &rowReader{rows, columns}, nil
}

// next returns nil after the last row.
func (r *rowReader) next() ([]any, error) {
	if !r.rows.Next() {
		return nil, r.rows.Err()
	}
	values := make([]any, len(r.columns))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	return values, r.rows.Scan(into...)
}

// difference names the first column in which two rows differ.
func (r *rowReader) difference(is, should []any) string {
	for i := range should {
		if fmt.Sprint(is[i]) != fmt.Sprint(should[i]) {
			return fmt.Sprintf("row %s=%v: %s is %v, the ledger says %v", r.columns[0], should[0], r.columns[i], is[i], should[i])
		}
	}
	return ""
}
