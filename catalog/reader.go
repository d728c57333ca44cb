package catalog

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// A reader is the connections that read. One that keeps its queries prepares each
// once, because that takes SQLite longer than answering most of them. It is for
// commands such as report, which ask the same of every job and end; a daemon asks
// little, and what is kept takes memory for each connection.
type reader struct {
	*sql.DB
	keep bool

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
}

func newReader(db *sql.DB, keep bool) *reader {
	return &reader{DB: db, keep: keep, prepared: map[string]*sql.Stmt{}}
}

func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.prepared[query]; ok {
		return s, nil
	}
	s, err := r.PrepareContext(ctx, query)
	if err == nil {
		r.prepared[query] = s
	}
	return s, err
}

// QueryContext is that of sql.DB.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if !r.keep {
		return r.DB.QueryContext(ctx, query, args...)
	}
	s, err := r.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// QueryRowContext is that of sql.DB.
func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if !r.keep {
		return r.DB.QueryRowContext(ctx, query, args...)
	}
	s, err := r.statement(ctx, query)
	if err != nil {
		return r.DB.QueryRowContext(ctx, query, args...) // a row that holds the error
	}
	return s.QueryRowContext(ctx, args...)
}

// Close closes the statements and the connections.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, s := range r.prepared {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, r.DB.Close())
}
