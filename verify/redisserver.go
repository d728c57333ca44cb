package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

const (
	// redisDump is the name under which a server finds what it loads.
	redisDump = "dump.rdb"
	// redisChecker puts the job's checks: may read everything and change nothing.
	redisChecker = "saoluu_check"
	// redisOldest is the first version whose users can be told to read only.
	redisOldest = 6
	// redisLogKept is how much of the server's log is looked at when it ends.
	redisLogKept = 64 << 10
)

// redisSettings make a server that is thrown away after use: nothing is written,
// nothing is reachable but by the socket. A source may have any number of databases.
var redisSettings = []string{
	"--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--daemonize", "no", "--databases", "65536",
	"--dbfilename", redisDump, "--maxclients", "50", "--maxmemory", "0", "--loglevel", "notice", "--logfile", "", "--timeout", "0",
}

// redisSafer are for servers from 6.2 on: what is loaded is looked through, and when
// memory runs out this server is the first to go.
var redisSafer = []string{"--sanitize-dump-payload", "yes", "--oom-score-adj", "absolute", "--oom-score-adj-values", "1000", "1000", "1000"}

// A redisServer is a throwaway Redis server that has loaded a dump.
type redisServer struct {
	*tenant
	program string // its path
	version string
	log     *logTail
}

// redisVersion is how the server's program tells its version.
var redisVersion = regexp.MustCompile(`v=(\d+)\.(\d+)\S*`)

// redisProgram returns the path of a server's program. Where there is none, the program
// that checks dumps is the same one under another name, and comes in a package that
// starts no service (redis-tools): it then gets its other name in dir.
func redisProgram(product, dir string, along ...string) (string, error) {
	checker, err := command.LookPath(product+"-check-rdb", along...)
	path, serr := command.LookPath(product+"-server", along...)
	switch {
	case serr == nil && (err != nil || slices.Contains(along, filepath.Dir(path)) || !slices.Contains(along, filepath.Dir(checker))):
		return path, nil
	case err != nil:
		return "", err
	}
	if checker, err = filepath.EvalSymlinks(checker); err != nil {
		return "", err
	}
	path = filepath.Join(dir, product+"-server")
	return path, os.Symlink(checker, path)
}

// findRedis looks for a server of at least the major version that made the dump:
// later ones load what earlier ones wrote. Its program may get a name in dir.
func findRedis(ctx context.Context, dir, bin, want string) (*redisServer, error) {
	product, number, _ := strings.Cut(want, " ")
	if product == "" {
		product = "redis"
	}
	major, _, _ := strings.Cut(number, ".")
	least, _ := strconv.Atoi(major) // 0 when the dump does not tell
	least = max(least, redisOldest)
	var dirs []string
	if bin != "" {
		dirs = []string{bin}
	}
	path, err := redisProgram(product, dir, dirs...)
	if err != nil {
		return nil, err
	}
	out, err := command.Output(ctx, command.Cmd{Argv: []string{path, "--version"}, Env: plainEnv}, 4096)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m := redisVersion.FindStringSubmatch(string(out))
	op, hint := fmt.Sprintf("find a server that loads %q", want), fmt.Sprintf("install a %s-server of version %d or later, and name its folder in restore_test.bin", product, least)
	if err != nil || m == nil {
		return nil, fault.New(fault.MissingTool, op, fmt.Errorf("%q does not tell its version", path), hint)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	s := &redisServer{program: path, version: strings.TrimPrefix(m[0], "v="), tenant: &tenant{bin: filepath.Dir(real)}, log: &logTail{}}
	found, _ := strconv.Atoi(m[1])
	if found < least {
		return nil, fault.New(fault.MissingTool, op, fmt.Errorf("%q has version %s", path, s.version), hint)
	}
	return s, nil
}

// startRedis loads a dump, a file that it takes away, into a server in the sandbox.
// Damage is a *finding.
func startRedis(ctx context.Context, x *examination, file string, dump *sources.RedisDump) (_ *redisServer, err error) {
	if err := enoughMemory("load the dump", dump.Memory()); err != nil {
		return nil, err
	}
	s, err := findRedis(ctx, x.sandbox.dir, x.request.Bin, dump.Version())
	if err != nil {
		return nil, err
	}
	if s.tenant, err = x.settle(s.bin); err != nil {
		return nil, err
	}
	place := filepath.Join(s.dir, redisDump)
	if err := errors.Join(os.Rename(file, place), os.Chmod(place, 0o600), s.give(place)); err != nil {
		return nil, err
	}
	s.bounds = nil // what its data take was measured, and is there
	options := append([]string{"--unixsocket", s.socket(), "--dir", s.dir}, redisSettings...)
	if m := redisVersion.FindStringSubmatch("v=" + s.version); m[1] != "6" || m[2] > "1" {
		options = append(options, redisSafer...)
	}
	server := s.command(s.program, options...)
	server.Interrupt, server.Grace, server.Stdout = syscall.SIGKILL, stopGrace, s.log
	if s.process, err = command.Start(ctx, server); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, os.Remove(place) // its space is wanted, its content is in memory
}

// lookAtDump reads a dump whole: one that is not as it was written is damaged.
func lookAtDump(path string) (*sources.RedisDump, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	dump := sources.NewRedisDump()
	if _, err := io.CopyBuffer(struct{ io.Writer }{dump}, struct{ io.Reader }{file}, make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	if err := dump.Check(); err != nil {
		return nil, &finding{"dump", "it is whole", "damaged", err}
	}
	return dump, nil
}

// enoughMemory fails when this machine has less memory than op needs, in bytes:
// others must not suffer for a test.
func enoughMemory(op string, need int64) error {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 && err == nil && kib<<10 < need+spareBytes {
			return fault.New(fault.Unknown, op, fmt.Errorf("%d MiB of memory available, %d MiB needed", kib>>10, (need+spareBytes)>>20),
				"give the machine more memory, or test on another one")
		}
	}
	return nil
}

func (s *redisServer) socket() string { return filepath.Join(s.sockets, "s") }

// connect opens a connection of a user; "" is the one who may do everything.
func (s *redisServer) connect(ctx context.Context, user string) (*sources.RedisConn, error) {
	return (&sources.Redis{Host: s.socket(), User: user}).Connect(ctx)
}

// ready waits until the dump is loaded, for as long as the server says that it is at
// it, and makes the user of the checks.
func (s *redisServer) ready(ctx context.Context) error {
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	silent := time.NewTimer(startLimit)
	defer silent.Stop()
	for {
		conn, err := s.connect(ctx, "")
		if err == nil {
			return errors.Join(s.people(conn), conn.Close())
		}
		if strings.Contains(err.Error(), "LOADING") {
			silent.Reset(startLimit)
		}
		select {
		case <-s.process.Done():
			_, err := s.process.Wait()
			return s.ended(err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-silent.C:
			return fault.New(fault.TimedOut, "start a throwaway Redis server", err, "see whether the machine is overloaded")
		case <-tick.C:
		}
	}
}

// people makes the user who puts the checks. Scripts that may only read are known from
// version 7.0 on.
func (s *redisServer) people(conn *sources.RedisConn) error {
	_, err := conn.Do("ACL", "SETUSER", redisChecker, "on", "nopass", "~*", "resetchannels", "-@all", "+@read", "+select", "+ping")
	if err != nil {
		return fault.New(fault.Unknown, "prepare the throwaway Redis server", err, "")
	}
	_, err = conn.Do("ACL", "SETUSER", redisChecker, "+eval_ro", "+fcall_ro")
	var refused sources.RedisError
	if errors.As(err, &refused) {
		return nil
	}
	return err
}

// redisTroubles are words by which something else than the data makes the server end.
var redisTroubles = []struct {
	text *regexp.Regexp
	kind fault.Kind
	hint string
}{
	{regexp.MustCompile(`Can't handle RDB format version`), fault.MissingTool, "install a redis-server as new as the source's, and name its folder in restore_test.bin"},
	{regexp.MustCompile(`no matching module|module data I can't load|AUX module`), fault.MissingTool, "restore it by hand to a server that has the source's modules, and look at it there"},
	{regexp.MustCompile(`Out Of Memory|Can't allocate|Cannot allocate memory`), fault.Unknown, "give the machine more memory"},
	{regexp.MustCompile(`No space left on device|Disk quota exceeded`), fault.NoSpace, "free some space, or move paths.scratch"},
	{regexp.MustCompile(`Bad directive|FATAL CONFIG FILE ERROR|Failed opening Unix socket`), fault.Unknown, "see what the server says when it is started by hand"},
}

// ended says why the server ended while it loaded.
func (s *redisServer) ended(err error) error {
	const op = "load the dump"
	log := s.log.text()
	for _, e := range redisTroubles {
		if e.text.MatchString(log) {
			return fault.New(e.kind, op, errors.New(lastLines(log)), e.hint)
		}
	}
	var exit *command.ExitError
	if !errors.As(err, &exit) || exit.Signal != 0 {
		return fault.New(fault.Unknown, op, fmt.Errorf("the server ended: %w: %s", err, lastLines(log)), "see in the kernel's log whether memory ran out")
	}
	return &finding{"load", "the server takes the dump", "refused", fmt.Errorf("%w: %s", err, lastLines(log))}
}

// lastLines are the end of a log, for the operator.
func lastLines(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}

// A logTail keeps the end of what is written to it.
type logTail struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

// Write never fails.
func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept.Write(p)
	if over := l.kept.Len() - redisLogKept; over > 0 {
		l.kept.Next(over)
	}
	return len(p), nil
}

func (l *logTail) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept.String()
}
