package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// A mongoDrill is a MongoDB copy that mongorestore loads into a server of its own. How
// many documents came back is what mongorestore says; nothing else of ours can ask.
//
// It was never tried with the real programs: see sources.MongoDB.
type mongoDrill struct {
	*examination
	parts   []restoredPart
	server  *tenant
	restore string // path of mongorestore
	found   []sources.Fact
	loaded  bool // found is what lies in the archives now
}

// MongoServer says where the server comes from.
const MongoServer = "install mongodb-org-server and mongodb-database-tools of MongoDB, the server of the version that was dumped, or name their folder in restore_test.bin"

// startMongoDrill loads a copy. Damage is a *finding.
func startMongoDrill(ctx context.Context, x *examination, parts []restoredPart) (_ subject, err error) {
	want := ""
	for _, p := range parts {
		head, err := lookAtArchive(p.file)
		if err != nil {
			return nil, err
		}
		want = head.server
	}
	d := &mongoDrill{examination: x, parts: parts}
	server, err := d.find(ctx, want)
	if err != nil {
		return nil, err
	}
	if d.server, err = x.settle(filepath.Dir(server)); err != nil {
		return nil, err
	}
	if err := d.start(ctx, server); err != nil {
		return nil, errors.Join(err, d.server.stop())
	}
	if err := d.load(ctx); err != nil {
		return nil, errors.Join(err, d.server.stop())
	}
	x.engine = true
	return d, nil
}

// An archiveHead is what mongodump writes before the data.
type archiveHead struct {
	server string // version
	oplog  bool   // what was written meanwhile is there too
}

// The archive format of mongodump (mongo-tools, common/archive/spec.md): a magic
// number, a document about the archive and one for each collection, and a terminator.
const (
	archiveMagic      = 0x8199e26d
	archiveTerminator = 0xffffffff
	documentLimit     = 16<<20 + 16<<10 // BSON of the server's own (MongoDB manual, "Limits")
)

// oplogEntry is how the document of the oplog begins: of no database, in BSON.
const oplogEntry = "\x02db\x00\x01\x00\x00\x00\x00\x02collection\x00\x06\x00\x00\x00oplog\x00"

// archiveServer is how the version stands in the first document.
var archiveServer = regexp.MustCompile(`(?s)\x02server_version\x00....([^\x00]*)\x00`)

// lookAtArchive reads the head of an archive.
func lookAtArchive(path string) (archiveHead, error) {
	file, err := os.Open(path)
	if err != nil {
		return archiveHead{}, err
	}
	defer file.Close()
	r := bufio.NewReader(file)
	broken := func(why string) (archiveHead, error) {
		return archiveHead{}, &finding{"dump", "it is an archive of mongodump", "damaged", errors.New(why)}
	}
	var number uint32
	if err := binary.Read(r, binary.LittleEndian, &number); err != nil || number != archiveMagic {
		return broken("it does not begin as one")
	}
	var head archiveHead
	for first := true; ; first = false {
		if err := binary.Read(r, binary.LittleEndian, &number); err != nil {
			return broken("it ends before its data")
		}
		if number == archiveTerminator {
			break
		}
		if number < 5 || number > documentLimit {
			return broken("its head is no BSON")
		}
		document := make([]byte, number-4)
		if _, err := io.ReadFull(r, document); err != nil {
			return broken("it ends before its data")
		}
		if m := archiveServer.FindSubmatch(document); first && m != nil {
			head.server = string(m[1])
		}
		head.oplog = head.oplog || bytes.Contains(document, []byte(oplogEntry))
	}
	if head.server == "" {
		return broken("it does not tell the version of its server")
	}
	return head, nil
}

// mongodVersion is how a server tells its version.
var mongodVersion = regexp.MustCompile(`(?m)^db version v(\d+\.\d+)\.(\S+)`)

// find looks for mongorestore and for a server of the dump's own major version:
// another one is no proof (MongoDB manual, "mongorestore": restore to a matching server).
func (d *mongoDrill) find(ctx context.Context, want string) (string, error) {
	var dirs []string
	if d.request.Bin != "" {
		dirs = []string{d.request.Bin}
	}
	op := fmt.Sprintf("find a MongoDB server %s for the restore test", want)
	paths := map[string]string{}
	for _, name := range []string{"mongod", "mongorestore"} {
		path, err := command.LookPath(name, dirs...)
		if err != nil {
			return "", fault.New(fault.MissingTool, op, err, MongoServer)
		}
		paths[name] = path
	}
	out, err := command.Output(ctx, command.Cmd{Argv: []string{paths["mongod"], "--version"}, Env: plainEnv}, 64<<10)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	m := mongodVersion.FindStringSubmatch(string(out))
	if err != nil || m == nil {
		return "", fault.New(fault.MissingTool, op, fmt.Errorf("%q does not tell its version", paths["mongod"]), MongoServer)
	}
	if !strings.HasPrefix(want, m[1]+".") {
		return "", fault.New(fault.MissingTool, op, fmt.Errorf("%q has version %s.%s", paths["mongod"], m[1], m[2]), MongoServer)
	}
	d.restore = paths["mongorestore"]
	d.result.Tools = append(d.result.Tools, Tool{Name: "mongod", Version: m[1] + "." + m[2]})
	return paths["mongod"], nil
}

func (d *mongoDrill) socket() string { return filepath.Join(d.server.sockets, "mongod.sock") }

// start makes a server that listens on a socket alone (MongoDB manual, "mongod":
// --bind_ip takes the path of a socket), and waits until it does.
func (d *mongoDrill) start(ctx context.Context, server string) (err error) {
	data := filepath.Join(d.server.dir, "data")
	if err := errors.Join(os.Mkdir(data, 0o700), d.server.give(data)); err != nil {
		return err
	}
	run := d.server.command(server, "--dbpath", data, "--bind_ip", d.socket(), "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25")
	run.Interrupt, run.Grace, run.Stdout = syscall.SIGKILL, stopGrace, io.Discard
	if d.server.process, err = command.Start(ctx, run); err != nil {
		return err
	}
	limit, cancel := context.WithTimeoutCause(ctx, startLimit, fault.New(fault.TimedOut, "start a throwaway MongoDB server", nil, "see whether the machine is overloaded"))
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(limit, "unix", d.socket())
		if err == nil {
			return conn.Close()
		}
		select {
		case <-d.server.process.Done():
			_, err := d.server.process.Wait()
			return fault.New(fault.Unknown, "start a throwaway MongoDB server", cmp.Or(err, errors.New("it ended")), "run mongod by hand as the same user")
		case <-limit.Done():
			return context.Cause(limit)
		case <-tick.C:
		}
	}
}

// What mongorestore says of a collection that it has done with, and of all at its end.
var (
	mongoRestored = regexp.MustCompile(`(?m)\tfinished restoring (.+) \((\d+) documents?(?:, \d+ failures?)?\)\r?$`)
	mongoLost     = regexp.MustCompile(`(?m)[ (][1-9]\d* (?:failures?\)|document\(s\) failed to restore)`)
	mongoAway     = regexp.MustCompile(`server selection error|could not connect|connection refused|socket was unexpectedly closed|connection\(\S+ (?:incomplete|unable)`)
)

// load has mongorestore put every archive into the server, in the place of what lies
// there.
func (d *mongoDrill) load(ctx context.Context) error {
	d.found, d.loaded = nil, false
	for _, p := range d.parts {
		head, err := lookAtArchive(p.file)
		if err != nil {
			return err
		}
		args := []string{"--uri=mongodb://" + url.PathEscape(d.socket()) + "/", "--archive", "--drop", "--stopOnError"}
		if head.oplog {
			args = append(args, "--oplogReplay")
		}
		said, err := d.run(ctx, p.file, args)
		if err != nil {
			return err
		}
		if lost := mongoLost.FindString(said); lost != "" {
			return &finding{"load", "mongorestore takes every document", "it does not", errors.New(strings.TrimSpace(lost))}
		}
		d.found = append(d.found, withPart(sources.MongoCounts(said, mongoRestored), p.Part)...)
	}
	d.loaded = true
	return nil
}

// run feeds an archive to mongorestore and returns what it said.
func (d *mongoDrill) run(ctx context.Context, archive string, args []string) (string, error) {
	file, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var said bytes.Buffer
	load := d.server.command(d.restore, args...)
	load.Stdin = file
	load.StderrLine = func(line []byte) { said.Write(append(line[:len(line):len(line)], '\n')) }
	_, err = command.Run(ctx, load)
	var exit *command.ExitError
	switch text := said.String(); {
	case err == nil:
		return text, nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case !errors.As(err, &exit):
		return "", err
	case strings.Contains(text, "No space left on device"):
		return "", fault.New(fault.NoSpace, "load into the throwaway MongoDB server", err, "free some space, or move paths.scratch")
	case exit.Signal != 0, mongoAway.MatchString(text), d.died():
		return "", fault.New(fault.Unknown, "load into the throwaway MongoDB server", err, "see the kernel's log; the machine may lack memory")
	}
	return "", &finding{"load", "mongorestore takes it", "it does not", err}
}

// died reports whether the server is gone.
func (d *mongoDrill) died() bool {
	select {
	case <-d.server.process.Done():
		return true
	default:
		return false
	}
}

func (d *mongoDrill) facts(ctx context.Context, _ []sources.Fact) ([]sources.Fact, error) {
	if !d.loaded {
		if err := d.load(ctx); err != nil {
			return nil, err
		}
	}
	return d.found, nil
}

func (d *mongoDrill) query(context.Context, Check) (answer, error) {
	return answer{}, fault.New(fault.Usage, "check", errors.New("nothing of ours asks MongoDB"), "use run")
}

// damage cuts off the second half of an archive; the next comparison loads it anew.
func (d *mongoDrill) damage(_ context.Context, _ string, _ []sources.Fact) (string, error) {
	st, err := os.Stat(d.parts[0].file)
	if err != nil || st.Size() < 2 {
		return "", err
	}
	d.loaded = false
	return "the second half of the dump cut off", os.Truncate(d.parts[0].file, st.Size()/2)
}

func (d *mongoDrill) close() error { return d.server.stop() }
