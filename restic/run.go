package restic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// minimalPath is where restic finds ssh for the sftp backend and nothing else of ours.
const minimalPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// changeFolder is the program that changes the folder and then becomes restic. We do
// not do so ourselves: a child that is being started stops its parent as it is, and
// a folder that the parent itself serves, by FUSE, would wait for it in vain.
const changeFolder = "/usr/bin/env"

// maxList bounds output that is read whole, in bytes: about 100,000 snapshots.
const maxList = 256 << 20

// A call is one run of restic.
type call struct {
	op      string   // verb and object, for errors
	args    []string // verb and its flags
	tail    []string // arguments after "--"
	dir     string   // folder in which restic is started; empty: "/"
	env     []string // besides the repository's
	options []string // besides the repository's
	slower  []string // env without a fast key in it; nil when there is none
	writes  bool     // the verb cannot do without a lock
	files   held     // locks to hand down
	from    *Repo    // a second repository that is read from; nil: none
	secrets []string // besides the repository's
}

// environment is restic's whole environment.
func (e *Engine) environment(r Repo, more []string) []string {
	tmp := e.TempDir
	if tmp == "" {
		tmp = "/tmp"
	}
	env := []string{
		minimalPath, "HOME=" + tmp, "TMPDIR=" + tmp, "TZ=UTC", "LC_ALL=C.UTF-8",
		"RESTIC_PROGRESS_FPS=1", // without it restic prints 60 status lines a second
		"RESTIC_REPOSITORY=" + r.URL,
	}
	env = append(env, r.opener("RESTIC_")...)
	if e.CacheDir != "" {
		env = append(env, "RESTIC_CACHE_DIR="+e.CacheDir)
	}
	return append(append(env, r.Env...), more...)
}

// start spells a call out with its repositories held open; call release when
// restic has ended. text blanks and names what restic says, for people.
func (e *Engine) start(r Repo, c call, t *transcript) (cmd command.Cmd, text func(string) string, release func(), err error) {
	r, c, p, err := pin(r, c)
	if err != nil {
		return cmd, nil, nil, err
	}
	cmd = e.command(r, c, t)
	cmd.ExtraFiles = slices.Concat(cmd.ExtraFiles, p.files)
	return cmd, func(s string) string { return p.named(command.Blank(s, cmd.Secrets)) }, p.release, nil
}

// command spells a call out.
func (e *Engine) command(r Repo, c call, t *transcript) command.Cmd {
	argv := []string{e.Path, "--json"}
	if r.NoLock && !c.writes {
		argv = append(argv, "--no-lock")
	} else {
		argv = append(argv, "--retry-lock", e.retryLock().String())
	}
	if e.CacheDir == "" {
		argv = append(argv, "--no-cache")
	}
	if r.LimitUpload > 0 {
		argv = append(argv, "--limit-upload", strconv.Itoa(r.LimitUpload))
	}
	if r.LimitDownload > 0 {
		argv = append(argv, "--limit-download", strconv.Itoa(r.LimitDownload))
	}
	for _, o := range slices.Concat(r.Options, c.options) {
		argv = append(argv, "-o", field(o))
	}
	argv = append(argv, c.args...)
	if len(c.tail) > 0 {
		argv = append(append(argv, "--"), c.tail...)
	}
	env := c.env
	if c.from != nil {
		env = append([]string{"RESTIC_FROM_REPOSITORY=" + c.from.URL}, env...)
	}
	if c.dir != "" {
		argv = append([]string{changeFolder, "-C", c.dir}, argv...)
	}
	return command.Cmd{
		Argv: argv, Env: e.environment(r, env), Grace: e.Grace, Secrets: append(r.secrets(), c.secrets...),
		StderrLine: t.stderrLine, ExtraFiles: c.files.files, OnRead: r.Meter.add,
	}
}

// field writes an option as one field: restic reads -o as a line of
// comma-separated values (pflag, StringSlice).
func field(option string) string {
	if !strings.ContainsAny(option, "\",\n") {
		return option
	}
	return `"` + strings.ReplaceAll(option, `"`, `""`) + `"`
}

// opener are the variables that say how the repository is opened.
func (r Repo) opener(prefix string) []string {
	if r.Fast != nil {
		return []string{prefix + "PASSWORD_FILE=" + r.Fast.PasswordFile, prefix + "KEY_HINT=" + r.Fast.ID}
	}
	return []string{prefix + "PASSWORD_FILE=" + r.PasswordFile}
}

// opening runs c with the repository's fast key, and once more without it when
// that does not open the repository: restic has not begun anything then.
func opening(r Repo, c call, run func(Repo, call) (*transcript, error)) (*transcript, error) {
	t, err := run(r, c)
	if fault.KindOf(err) != fault.WrongKey || r.Fast == nil && c.slower == nil {
		return t, err
	}
	r.Fast = nil
	if c.slower != nil {
		c.env = c.slower
	}
	return run(r, c)
}

// retryLock is how long to wait for a lock. Restic waits in silence, so it must
// give up, and say why, before the silence is taken for a stall.
func (e *Engine) retryLock() time.Duration {
	retry := e.RetryLock
	if retry == 0 {
		retry = DefaultRetryLock
	}
	if e.Stall > 0 {
		retry = min(retry, e.Stall/2)
	}
	return retry
}

// lines runs c and hands each JSON message on stdout that is no error to fn.
func (e *Engine) lines(ctx context.Context, r Repo, c call, fn func(message) error) (*transcript, error) {
	return opening(r, c, func(r Repo, c call) (*transcript, error) {
		t := &transcript{}
		cmd, said, release, err := e.start(r, c, t)
		if err != nil {
			return t, err
		}
		defer release()
		_, err = command.Lines(ctx, cmd, func(line []byte) error { return t.stdoutLine(line, fn) })
		return t, verdict(c.op, err, t, said)
	})
}

// text runs c and hands each line of its stdout to fn.
func (e *Engine) text(ctx context.Context, r Repo, c call, fn func(line string)) (*transcript, error) {
	return opening(r, c, func(r Repo, c call) (*transcript, error) {
		t := &transcript{}
		cmd, said, release, err := e.start(r, c, t)
		if err != nil {
			return t, err
		}
		defer release()
		_, err = command.Lines(ctx, cmd, func(line []byte) error { fn(string(line)); return nil })
		return t, verdict(c.op, err, t, said)
	})
}

// output runs c and returns its stdout whole.
func (e *Engine) output(ctx context.Context, r Repo, c call) (out []byte, err error) {
	_, err = opening(r, c, func(r Repo, c call) (t *transcript, err error) {
		t = &transcript{}
		cmd, said, release, err := e.start(r, c, t)
		if err != nil {
			return t, err
		}
		defer release()
		out, err = command.Output(ctx, cmd, maxList)
		return t, verdict(c.op, err, t, said)
	})
	return out, err
}

// stream runs c with its stdout going to w.
func (e *Engine) stream(ctx context.Context, r Repo, c call, w io.Writer) error {
	_, err := opening(r, c, func(r Repo, c call) (*transcript, error) {
		t := &transcript{}
		cmd, said, release, err := e.start(r, c, t)
		if err != nil {
			return t, err
		}
		defer release()
		cmd.Stdout, cmd.Stall = w, e.Stall
		_, err = command.Run(ctx, cmd)
		return t, verdict(c.op, err, t, said)
	})
	return err
}

// fullID returns an error unless id is a whole snapshot or repository id, 64
// hexadecimal digits: a prefix may mean another one tomorrow, and "latest" does.
func fullID(op, id string) error {
	if isFullID(id) {
		return nil
	}
	return fault.New(fault.Usage, op, fmt.Errorf("%q is not a whole id of 64 hexadecimal digits", id), "")
}

func isFullID(id string) bool {
	return len(id) == 64 && strings.Trim(id, "0123456789abcdef") == ""
}

// usable returns an error for a Repo that cannot be opened safely.
func (r Repo) usable(op string) error {
	switch {
	case r.URL == "":
		return fault.New(fault.Usage, op, errors.New("the repository has no address"), "")
	case r.PasswordFile == "":
		return fault.New(fault.Usage, op, errors.New("the repository has no password file"), "")
	case r.Gate == nil:
		return fault.New(fault.Usage, op, errors.New("the repository has no gate"), "")
	}
	return nil
}
