package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"saoluu/internal/command"
	"saoluu/sources"
)

// onTablespace is a statement about a tablespace. None is run: its folder would
// be one of this host's, perhaps the source's own.
var onTablespace = regexp.MustCompile(`^(CREATE|ALTER|COMMENT ON) TABLESPACE |^(GRANT|REVOKE) .* ON TABLESPACE `)

// globals loads the roles before the database whose tables they own. Without
// the part, or where the part lacks one, they are made from the facts.
func (d *drill) globals(ctx context.Context, conn *pgx.Conn, p *restoredPart) error {
	if p != nil {
		if err := d.loadGlobals(ctx, *p); err != nil {
			return err
		}
	}
	rows, err := conn.Query(ctx, "SELECT rolname::text FROM pg_roles")
	if err != nil {
		return d.serverError(ctx, "prepare", err)
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return d.serverError(ctx, "prepare", err)
	}
	known := map[string]bool{}
	for _, name := range there {
		known[name] = true
	}
	for _, f := range d.request.Facts {
		if f.Kind != sources.FactRole || known[f.Of] || p != nil {
			continue
		}
		if _, err := conn.Exec(ctx, "CREATE ROLE "+quoteName(f.Of)); err != nil {
			return d.serverError(ctx, "prepare", err)
		}
	}
	return nil
}

// loadGlobals runs the part's statements by psql. Its exit status says nothing:
// every error it shows must be on the short list of benign ones.
func (d *drill) loadGlobals(ctx context.Context, p restoredPart) error {
	file, err := os.Open(p.file)
	if err != nil {
		return err
	}
	defer file.Close()
	var refused []string
	psql := d.cluster.program("psql", "--no-psqlrc", "--quiet", "--no-password", "--host="+d.cluster.sockets, "--port=5432",
		"--username="+d.cluster.superuser, "--dbname=postgres", "--file=-")
	psql.Stdin = withoutTablespaces(file)
	psql.StderrLine = func(line []byte) {
		if text := string(line); !d.benign(text) {
			refused = append(refused, text)
		}
	}
	_, err = command.Run(ctx, psql)
	var exit *command.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return fmt.Errorf("load the roles: %w", err)
	case err != nil:
		return d.cluster.fault("load the roles", err)
	case len(refused) > 0:
		return &finding{"roles", "the server takes them", "refused", errors.New(strings.Join(refused[:min(len(refused), detailLimit)], "; "))}
	}
	return nil
}

// benign is the list: notices, and that the role the cluster was made with is
// there already.
func (d *drill) benign(line string) bool {
	_, text, ok := strings.Cut(line, "ERROR:  ")
	if !ok {
		return !strings.Contains(line, "FATAL:") && !strings.Contains(line, "PANIC:")
	}
	return text == fmt.Sprintf("role \"%s\" already exists", d.cluster.superuser)
}

// withoutTablespaces passes a script on without statements about tablespaces,
// which stand on lines of their own.
func withoutTablespaces(r io.Reader) io.Reader {
	lines := bufio.NewReader(r)
	var pending bytes.Buffer
	return readerFunc(func(p []byte) (int, error) {
		for pending.Len() == 0 {
			line, err := lines.ReadBytes('\n')
			if !onTablespace.Match(line) {
				pending.Write(line)
			}
			if err != nil && pending.Len() == 0 {
				return 0, err
			}
		}
		return pending.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
