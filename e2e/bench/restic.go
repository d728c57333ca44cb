package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"saoluu/internal/command"
)

// minimalPath is all that the programs measured see of our own environment.
const minimalPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A repository is one made by a bare restic, with the key cost that restic chose
// for this machine.
type repository struct {
	program  string
	path     string
	password string // file
	cache    string
}

// newRepository makes one in the measurement's folder.
func (b *bench) newRepository(ctx context.Context, name string) (repository, error) {
	r := repository{
		program: filepath.Join(b.root, "bin", "restic"), path: filepath.Join(b.dir, name),
		password: filepath.Join(b.dir, "password"), cache: filepath.Join(b.dir, "cache-"+name),
	}
	if err := os.WriteFile(r.password, []byte("not a secret\n"), 0o600); err != nil {
		return r, err
	}
	_, err := command.Run(ctx, r.command("init"))
	return r, err
}

// fresh copies the repository to another place: the same key, so that opening
// either costs the same.
func (r repository) fresh(path string) (repository, error) {
	if err := os.RemoveAll(path); err != nil {
		return r, err
	}
	if err := os.CopyFS(path, os.DirFS(r.path)); err != nil {
		return r, err
	}
	r.path, r.cache = path, path+"-cache"
	return r, os.RemoveAll(r.cache)
}

// command is one call of restic, as an administrator would write it.
func (r repository) command(args ...string) command.Cmd {
	return command.Cmd{
		Argv: append([]string{r.program}, args...),
		Env: []string{
			minimalPath, "HOME=" + filepath.Dir(r.path), "RESTIC_REPOSITORY=" + r.path,
			"RESTIC_PASSWORD_FILE=" + r.password, "RESTIC_CACHE_DIR=" + r.cache,
		},
	}
}

// count returns how many snapshots there are, by their files.
func (r repository) count() (int, error) {
	entries, err := os.ReadDir(filepath.Join(r.path, "snapshots"))
	return len(entries), err
}

// bytes returns the size of the data in the repository.
func (r repository) bytes() (sum int64, err error) {
	err = filepath.WalkDir(filepath.Join(r.path, "data"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// stub is a restic that does nothing but say that it did. Its snapshots are text
// made of the arguments, which name the run, under the digest of the text, as a
// repository has them; computing that is the one program it starts, and costs the
// bare side the same.
const stub = `#!/bin/sh
case "$*" in
*' backup '*)
	id=$(printf '%s' "$$ $*" | sha256sum)
	id=${id%% *}
	printf '%s' "$$ $*" >"$RESTIC_REPOSITORY/snapshots/$id"
	echo '{"message_type":"summary","files_new":1,"total_files_processed":1,"total_bytes_processed":1,"data_added":1,"snapshot_id":"'$id'"}'
	;;
*'cat config') echo '{"version":2,"id":"5555555555555555555555555555555555555555555555555555555555555555","chunker_polynomial":"25b468838dcb75"}' ;;
version) echo 'restic 0.19.1 compiled with go1.26.4 on linux/amd64' ;;
esac
`

// newStub makes a repository of a restic that does nothing.
func (b *bench) newStub(name string) (repository, error) {
	r := repository{
		program: filepath.Join(b.dir, name+"-restic"), path: filepath.Join(b.dir, name),
		password: filepath.Join(b.dir, "password"), cache: filepath.Join(b.dir, "cache-"+name),
	}
	if err := os.MkdirAll(filepath.Join(r.path, "snapshots"), 0o700); err != nil {
		return r, err
	}
	if err := os.WriteFile(filepath.Join(r.path, "config"), []byte("stub\n"), 0o600); err != nil {
		return r, err
	}
	if err := os.WriteFile(r.password, []byte("not a secret\n"), 0o600); err != nil {
		return r, err
	}
	return r, os.WriteFile(r.program, []byte(stub), 0o700)
}

// logged makes the repository be used through a script that writes each call's
// arguments to the returned file before it becomes restic.
func (r repository) logged(dir string) (repository, string, error) {
	log, script := filepath.Join(dir, "calls"), filepath.Join(dir, "restic-logged")
	text := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$*\" >>'%s'\nexec '%s' \"$@\"\n", log, r.program)
	r.program = script
	return r, log, os.WriteFile(script, []byte(text), 0o700)
}

// metered makes the repository be used through a script that writes the
// processor time of each call of restic to the returned file.
func (r repository) metered(dir string) (repository, string, error) {
	log, script := filepath.Join(dir, "times"), filepath.Join(dir, "restic-metered")
	text := fmt.Sprintf("#!/bin/sh\n'%s' \"$@\"\ncode=$?\ntimes >>'%s'\nexit $code\n", r.program, log)
	r.program = script
	return r, log, os.WriteFile(script, []byte(text), 0o700)
}

// lastCall reads the processor time of the last call from such a file: the
// second of the two lines that times (POSIX shell) prints is of its children.
func lastCall(log string) (time.Duration, error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var sum time.Duration
	for field := range strings.FieldsSeq(lines[len(lines)-1]) {
		d, err := time.ParseDuration(field)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// verbs counts the verbs of the calls in a log.
func verbs(log string) (map[string]int, error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, err
	}
	known := []string{"backup", "snapshots", "stats", "version", "cat", "list", "ls", "copy", "forget", "prune", "check", "unlock", "init", "find", "diff", "restore", "dump"}
	counts := map[string]int{}
	for line := range strings.Lines(string(text)) {
		verb := "unknown"
	search:
		for word := range strings.FieldsSeq(line) {
			for _, k := range known {
				if word == k {
					verb = k
					break search
				}
			}
		}
		counts[verb]++
	}
	return counts, nil
}
