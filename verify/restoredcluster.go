package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

const (
	// recoverLimit bounds the replay of the log that was written during the copy.
	recoverLimit = 2 * time.Hour
	// clusterRole is who we are in a server that has roles of its own.
	clusterRole = "saoluu_restore_test"
)

// startRestored makes a server of the same major version of a copy's files and starts
// it. Nothing the source's server was set to takes effect, and it reaches nobody.
func startRestored(ctx context.Context, x *examination, p restoredPart) (*cluster, error) {
	major, err := copiedVersion(x.request.Facts, p.file)
	if err != nil {
		return nil, err
	}
	bin, version, err := findServer(ctx, x.request.Bin, major)
	if err != nil {
		return nil, err
	}
	home, err := x.settle(bin)
	if err != nil {
		return nil, err
	}
	c := &cluster{tenant: home, version: version, superuser: clusterRole, home: "template1"}
	if err := c.unpack(ctx, p.file); err != nil {
		return nil, err
	}
	if err := c.manifest(ctx, x); err != nil {
		return nil, err
	}
	if err := c.disarm(); err != nil {
		return nil, boxError(c.dir, err)
	}
	settings, err := c.settings(ctx, major)
	if err != nil {
		return nil, err
	}
	limit, cancel := context.WithTimeoutCause(ctx, recoverLimit, fault.New(fault.TimedOut, "start a server on the copy", fmt.Errorf("over its limit of %s", recoverLimit), "see whether the machine is overloaded"))
	defer cancel()
	if err := c.recover(limit, settings); err != nil {
		return nil, err
	}
	return c, c.serve(ctx, limit, settings...)
}

// copiedVersion is the major version of the server a copy was made of.
func copiedVersion(facts []sources.Fact, file string) (int, error) {
	text := recordedVersion(facts)
	if text == "" {
		tar, err := os.Open(file)
		if err != nil {
			return 0, err
		}
		defer tar.Close()
		if text, err = sources.ClusterVersion(tar); err != nil {
			return 0, clusterFinding(err)
		}
	}
	major, err := strconv.Atoi(text)
	if err != nil {
		return 0, &finding{"manifest", "every file is as the server sent it", "damaged", err}
	}
	return major, nil
}

// clusterFinding makes a finding of damage, and leaves other errors.
func clusterFinding(err error) error {
	switch {
	case fault.KindOf(err) == fault.Damaged:
		return &finding{"manifest", "every file is as the server sent it", "damaged", err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.NoSpace, "unpack the server's files", err, "free some space, or move paths.scratch")
	}
	return err
}

// unpack writes the files of the copy, owned by the server's user, and removes the tar.
func (c *cluster) unpack(ctx context.Context, file string) error {
	if err := errors.Join(os.Mkdir(c.data(), 0o700), c.give(c.data())); err != nil {
		return boxError(c.data(), err)
	}
	tar, err := os.Open(file)
	if err != nil {
		return err
	}
	defer tar.Close()
	own := func(root *os.Root, name string, _, _ int) error {
		if c.credential == nil {
			return nil
		}
		return root.Lchown(name, int(c.credential.UID), int(c.credential.GID))
	}
	if err := sources.UnpackCluster(ctx, tar, c.data(), own); err != nil {
		return clusterFinding(err)
	}
	return os.Remove(file) // its space is wanted
}

// manifest holds every file against its SHA-256 in the manifest, the manifest against
// its own, and reads the log that recovery will need.
func (c *cluster) manifest(ctx context.Context, x *examination) error {
	files, err := c.listed()
	if err != nil {
		return err
	}
	if err := c.verifyFiles(ctx); err != nil {
		return err
	}
	x.assert(Assertion{Name: "manifest", Expected: count(len(files), len(files)), Actual: count(len(files), len(files)), OK: true})
	if !x.request.Control && len(x.request.Facts) > 0 {
		return nil
	}
	caught, err := c.spoilFile(ctx, files, x.request.Seed)
	x.result.Control = &ControlResult{Damage: "one byte of one file changed", Caught: caught}
	if caught {
		x.result.Control.By = "manifest"
	}
	return err
}

// A listedFile is an entry of a manifest (PostgreSQL manual, "Backup Manifest Format").
type listedFile struct {
	Path string
	Size int64
}

func (c *cluster) listed() ([]listedFile, error) {
	text, err := os.ReadFile(filepath.Join(c.data(), "backup_manifest"))
	if err != nil {
		return nil, err
	}
	var m struct{ Files []listedFile }
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, &finding{"manifest", "it can be read", "damaged", err}
	}
	return m.Files, nil
}

// verifyFiles runs pg_verifybackup.
func (c *cluster) verifyFiles(ctx context.Context, args ...string) error {
	_, err := command.Run(ctx, c.program("pg_verifybackup", append(args, c.data())...))
	var exit *command.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("verify the server's files: %w", err)
	case exit.Signal != 0:
		return fault.New(fault.Unknown, "verify the server's files", err, "see in the kernel's log whether memory ran out")
	}
	if kind, hint, ok := environment(exit.Stderr); ok {
		return fault.New(kind, "verify the server's files", err, hint)
	}
	return &finding{"manifest", "every file is as the server sent it", "damaged", fmt.Errorf("%w: %s", err, exit.Stderr)}
}

// spoilFile changes one byte of a file, reports whether that is noticed, and changes it
// back.
func (c *cluster) spoilFile(ctx context.Context, files []listedFile, seed string) (bool, error) {
	h := fnv.New64a()
	h.Write([]byte(seed))
	at := h.Sum64()
	first := int(at % uint64(max(1, len(files))))
	for i := range files {
		f := files[(first+i)%len(files)]
		if f.Size == 0 || !filepath.IsLocal(f.Path) {
			continue
		}
		path := filepath.Join(c.data(), filepath.FromSlash(f.Path))
		if err := flip(path, at); err != nil {
			return false, err
		}
		err := c.verifyFiles(ctx, "--exit-on-error", "--no-parse-wal")
		if ferr := flip(path, at); ferr != nil {
			return false, ferr
		}
		var found *finding
		if err != nil && !errors.As(err, &found) {
			return false, err
		}
		return err != nil, nil
	}
	return false, nil
}

// disarm takes away what would make the server follow another one, and what it was
// set to by ALTER SYSTEM; its other settings are not read. Who it lets in is ours to
// say: its socket lies where only its user may look.
func (c *cluster) disarm() error {
	var problems []error
	for _, name := range []string{"standby.signal", "recovery.signal"} {
		if err := os.Remove(filepath.Join(c.data(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	for path, text := range map[string]string{
		filepath.Join(c.data(), "postgresql.auto.conf"): "", c.file("postgresql.conf"): "", c.file("pg_ident.conf"): "",
		c.file("pg_hba.conf"): "local all all trust\n",
	} {
		problems = append(problems, os.WriteFile(path, []byte(text), 0o600), c.give(path))
	}
	return errors.Join(problems...)
}

// file is a file of the server's settings, beside its data.
func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

// controlValue is how pg_controldata shows what recovery must have room for.
var controlValue = regexp.MustCompile(`(?m)^(max_connections|max_prepared_xacts|max_locks_per_xact) setting:\s+(\d+)$`)

// settings are those of a server on a copy: none of the source's but the room that
// recovery must have, and nothing that runs by itself.
func (c *cluster) settings(ctx context.Context, major int) ([]string, error) {
	all := []string{
		"config_file=" + c.file("postgresql.conf"), "hba_file=" + c.file("pg_hba.conf"), "ident_file=" + c.file("pg_ident.conf"),
		"max_logical_replication_workers=0",
	}
	if major >= 17 {
		all = append(all, "event_triggers=off")
	}
	out, err := command.Output(ctx, c.program("pg_controldata", c.data()), 1<<16)
	if err != nil {
		return nil, c.fault("read what the copy says of its server", err)
	}
	names := map[string]string{"max_prepared_xacts": "max_prepared_transactions", "max_locks_per_xact": "max_locks_per_transaction"}
	for _, m := range controlValue.FindAllStringSubmatch(string(out), -1) {
		all = append(all, cmp.Or(names[m[1]], m[1])+"="+m[2])
	}
	return all, nil
}

// recover replays the log, alone: a server for one user asks for no role. It makes us
// one, and lets nothing that was set for roles and databases take effect.
func (c *cluster) recover(ctx context.Context, settings []string) error {
	alone := c.program("postgres", append(append([]string{"--single", "-D", c.data()}, options(settings)...), c.home)...)
	alone.Dir = c.data()
	alone.Stdin = io.NopCloser(strings.NewReader(
		"CREATE ROLE " + clusterRole + "\n" +
			"ALTER ROLE " + clusterRole + " SUPERUSER LOGIN CONNECTION LIMIT -1 VALID UNTIL 'infinity'\n" +
			"DELETE FROM pg_catalog.pg_db_role_setting\n" +
			"UPDATE pg_catalog.pg_database SET datallowconn = true, datconnlimit = -1 WHERE datname = '" + c.home + "'\n"))
	var refused []string
	alone.StderrLine = func(line []byte) {
		if _, text, ok := strings.Cut(string(line), "ERROR:  "); ok && text != fmt.Sprintf("role %q already exists", clusterRole) {
			refused = append(refused, text)
		}
	}
	_, err := command.Run(ctx, alone)
	var exit *command.ExitError
	switch {
	case err == nil && len(refused) > 0:
		return fault.New(fault.Unknown, "prepare the server on the copy", errors.New(refused[0]), "")
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("start a server on the copy: %w", err)
	}
	if kind, hint, ok := environment(exit.Stderr); ok {
		return fault.New(kind, "start a server on the copy", err, hint)
	}
	if exit.Signal == syscall.SIGKILL {
		return fault.New(fault.Unknown, "start a server on the copy", err, "see in the kernel's log whether memory ran out")
	}
	return &finding{"start", "the server recovers from the copy", "refused", fmt.Errorf("%w: %s", err, exit.Stderr)}
}
