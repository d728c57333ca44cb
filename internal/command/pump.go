package command

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// PumpEnv is the environment variable in which a pump receives the whole
// environment of the program it runs, as a JSON array of KEY=value: so neither
// does a secret of the dump stand in an argument, nor does the dump see the
// secrets of the repository among which the pump runs.
const PumpEnv = "SAOLUU_PUMP_ENV"

// pumpBytes is the size of one read and of the pipe asked for: large enough
// that switching between three processes does not show.
const pumpBytes = 1 << 20

// A Digest is what a pump saw pass.
type Digest struct {
	SHA256 string `json:"sha256"` // lower-case hexadecimal
	Bytes  int64  `json:"bytes"`
}

// A pumpReport is what stands in the digest file: a Digest, or why there is none.
// The reason goes this way too, because restic may lose the last lines of what a
// command says on stderr.
type pumpReport struct {
	Digest
	Kind  fault.Kind `json:"kind,omitempty"`
	Error string     `json:"error,omitempty"`
	Hint  string     `json:"hint,omitempty"`
}

// A PumpRequest is one stream to be passed through.
type PumpRequest struct {
	Argv   []string
	Env    []string      // whole environment of Argv
	Digest string        // file to write the Digest to, or why there is none; empty for no file
	Why    string        // Cmd.Why
	Stall  time.Duration // no output for so long ends Argv; 0 means never
	Stdin  io.Reader     // usually nil
	Stdout io.Writer
}

// byHand is the hint for a dump that ended badly in a way of its own.
const byHand = "run the dump by hand as the same user and see what it says"

// Pump runs r.Argv and passes its standard output on, taking its SHA-256 and
// length. Only when the program exited with status 0 and wrote something is the
// digest written, durably, before Pump returns 0. Otherwise exit is the
// program's own status where it has one, else 1, and err says why; an empty
// stream is an error, because an empty dump is not a backup.
//
// It is the body of the hidden command "saoluu pump", which restic starts
// (restic manual, "Backing up": reading data from a command). The program stays
// in the group of its caller, so that an end of restic reaches it; and it dies
// with us, as we die with our parent (see TieToParent).
func Pump(ctx context.Context, r PumpRequest) (exit int, err error) {
	sum := newSummer(r.Stdout)
	res, err := Run(ctx, Cmd{
		Argv: r.Argv, Env: r.Env, Stdin: r.Stdin, Stdout: sum, Stall: r.Stall,
		pipeBytes: pumpBytes, sameSession: true,
	})
	report := pumpReport{Digest: sum.finish()}
	if err == nil && report.Bytes == 0 {
		err = fault.New(fault.Failed, fmt.Sprintf("read the output of %q", r.Argv[0]),
			errors.New("it exited with status 0 but wrote nothing"), "")
	}
	if err != nil {
		exit = max(res.ExitCode, 1)
		var ended *ExitError
		if errors.As(err, &ended) {
			err = cmp.Or(readWhy(r.Why), err)
		}
		report = pumpReport{Kind: fault.KindOf(err), Error: err.Error(), Hint: cmp.Or(fault.HintOf(err), byHand)}
	}
	if werr := report.write(r.Digest); werr != nil {
		return max(exit, 1), errors.Join(err, werr)
	}
	return exit, err
}

func (p pumpReport) write(file string) error {
	if file == "" {
		return nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return durable.WriteFile(file, append(text, '\n'), 0o600)
}

// WriteWhy writes into file why the program that it is the Cmd.Why of will fail. It is
// not kept through a loss of power.
func WriteWhy(file string, err error) error {
	text, merr := json.Marshal(pumpReport{Kind: fault.KindOf(err), Error: err.Error(), Hint: fault.HintOf(err)})
	if merr != nil {
		return merr
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

// readWhy returns what WriteWhy wrote; nil where there is nothing.
func readWhy(file string) error {
	if file == "" {
		return nil
	}
	_, err := ReadDigest(file)
	var why *fault.Error
	if !errors.As(err, &why) {
		return nil
	}
	return why
}

// ReadDigest reads what Pump wrote. When that is why there is no digest, the
// error is Pump's, with its kind and hint. An absent file is fs.ErrNotExist.
func ReadDigest(file string) (Digest, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Digest{}, err
	}
	var p pumpReport
	if err := json.Unmarshal(text, &p); err != nil {
		return Digest{}, fmt.Errorf("digest %q: %w", file, err)
	}
	if p.Error != "" {
		return Digest{}, fault.New(p.Kind, "", errors.New(p.Error), p.Hint)
	}
	if raw, err := hex.DecodeString(p.SHA256); err != nil || len(raw) != sha256.Size || p.Bytes <= 0 {
		return Digest{}, fmt.Errorf("digest %q: not a SHA-256 and a length", file)
	}
	return p.Digest, nil
}

// PumpMain is the command "pump": args are what follows that word,
// [--digest FILE] [--why FILE] [--stall DURATION] -- ARGV…; the environment of ARGV comes in
// PumpEnv. It returns the exit status and, when that is not 0, says why in one
// line on stderr.
func PumpMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	exit, err := pumpMain(ctx, args, stdout)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, strings.ReplaceAll(err.Error(), "\n", " ")) // nobody is left to tell
	}
	return exit
}

func pumpMain(ctx context.Context, args []string, stdout io.Writer) (exit int, err error) {
	if err := TieToParent(); err != nil {
		return 1, err
	}
	flags := flag.NewFlagSet("pump", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	r := PumpRequest{Stdout: stdout}
	flags.StringVar(&r.Digest, "digest", "", "file to write the digest to")
	flags.StringVar(&r.Why, "why", "", "file that says why the program fails")
	flags.DurationVar(&r.Stall, "stall", 0, "longest silence")
	if err := flags.Parse(args); err != nil {
		return 2, fault.New(fault.Usage, "pump", err, "")
	}
	r.Argv = flags.Args()
	if len(r.Argv) == 0 {
		return 2, fault.New(fault.Usage, "pump", errors.New("no command after --"), "")
	}
	if env := os.Getenv(PumpEnv); env != "" {
		if err := json.Unmarshal([]byte(env), &r.Env); err != nil {
			return 2, fault.New(fault.Usage, "pump: read "+PumpEnv, errors.New("not a JSON array of strings"), "")
		}
	}
	return Pump(ctx, r)
}

// TieToParent makes the kernel kill us when our parent dies. If the parent died
// while this was set up, it returns an error; if it died before, our output has
// no reader and the first write ends us.
func TieToParent() error {
	parent := unix.Getppid()
	done := make(chan error)
	go func() {
		// The setting belongs to the thread that makes it (prctl(2)); this one
		// is kept to the end of the process.
		runtime.LockOSThread()
		done <- unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
		select {}
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("ask for the parent's death signal: %w", err)
	}
	if unix.Getppid() != parent {
		return errors.New("the parent process has died")
	}
	return nil
}

// A summer passes writes on and hashes them on another core meanwhile: a write
// into a full pipe waits for its reader, and the hash need not wait with it.
type summer struct {
	w     io.Writer
	hash  hash.Hash
	bytes int64
	todo  chan []byte
	idle  chan struct{}
}

func newSummer(w io.Writer) *summer {
	s := &summer{w: w, hash: sha256.New(), todo: make(chan []byte), idle: make(chan struct{}, 1)}
	go func() {
		for p := range s.todo {
			s.hash.Write(p)
			s.idle <- struct{}{}
		}
		close(s.idle)
	}()
	return s
}

// Write returns when p is both written and hashed: it is the caller's again.
func (s *summer) Write(p []byte) (int, error) {
	s.todo <- p
	n, err := s.w.Write(p)
	<-s.idle
	s.bytes += int64(len(p))
	return n, err
}

func (s *summer) finish() Digest {
	close(s.todo)
	for range s.idle {
	}
	return Digest{SHA256: hex.EncodeToString(s.hash.Sum(nil)), Bytes: s.bytes}
}
