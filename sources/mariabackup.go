package sources

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// Ways to save a database server, as its configuration names them.
const (
	MethodDump        = "dump"        // statements, by the server's dump program
	MethodMariabackup = "mariabackup" // the files of a whole MariaDB server, by mariabackup
)

// partServer is the part that holds a whole server.
const partServer = "server"

// xbstream is how the stream that mariabackup writes is called (MariaDB manual,
// "mariadb-backup Options", --stream).
const xbstream = ".xbstream"

// IsMariabackup reports whether a stream of this name is one that mariabackup wrote:
// the files of a whole server, to be unpacked by mbstream and then prepared.
func IsMariabackup(filename string) bool { return strings.HasSuffix(filename, xbstream) }

// A mariaPhysical is one backup of a server's files. While the server lets nobody
// commit, at its end, the snapshot of the facts is opened.
type mariaPhysical struct {
	*feed
	source                 *MariaDB
	server                 *sql.DB
	program, options, data string
	cancel                 context.CancelFunc
	sure                   []Fact // that hold however the backup goes
	facts                  []Fact // valid when the feed is done
	missed                 error  // why there are none, valid then
}

// physical makes sure that the server's files may be read, and waits for the stream to
// be asked for. It closes server on error.
func (m *MariaDB) physical(ctx context.Context, server *sql.DB, scratch string) (_ Payload, err error) {
	p := &mariaPhysical{source: m, server: server}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeAll(filepath.Join(scratch, "client.cnf")), server.Close())
		}
	}()
	if err := p.allowed(ctx); err != nil {
		return Payload{}, err
	}
	if err := p.find(ctx); err != nil {
		return Payload{}, err
	}
	if p.options, err = m.optionFile(scratch); err != nil {
		return Payload{}, err
	}
	if p.feed, err = newFeed(scratch, filepath.Join(scratch, "server")); err != nil {
		return Payload{}, err
	}
	at := m.Now()
	ctx, p.cancel = context.WithCancel(ctx)
	go p.serve(ctx)
	part := Part{Name: partServer, Filename: partServer + xbstream, Dump: p.dump(m.Password)}
	return Payload{At: at, Parts: []Part{part}, Facts: p.known, FactsLast: true, Release: sync.OnceValue(p.release)}, nil
}

// physicalRights are those that mariabackup needs (MariaDB manual, "mariadb-backup
// Overview", privileges) beside the ones that facts need.
var physicalRights = append([]string{"RELOAD", "PROCESS", "LOCK TABLES", "BINLOG MONITOR"}, wanted...)

// allowed fails when the user lacks a right, and looks at what every backup can tell.
func (p *mariaPhysical) allowed(ctx context.Context) error {
	m := p.source
	rights, err := m.rights(ctx, p.server)
	if err != nil {
		return err
	}
	for _, right := range physicalRights {
		if !rights.general(right) {
			return fault.New(fault.Denied, m.op("back up"), fmt.Errorf("user %q lacks %s on *.*", m.User, right),
				fmt.Sprintf("GRANT %s ON *.* to the user %q", strings.Join(physicalRights, ", "), m.User))
		}
	}
	conn, err := m.session(ctx, p.server)
	if err != nil {
		return err
	}
	defer conn.Close()
	if p.sure, err = mariaVersion(ctx, conn); err != nil {
		return m.fault("ask for the version", err)
	}
	return nil
}

// find looks for the server's files and for the program that reads them.
func (p *mariaPhysical) find(ctx context.Context) error {
	m := p.source
	found, err := m.Locations(ctx)
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		return fault.New(fault.Usage, m.op("back up"), errors.New("mariabackup reads the files of a server on this host alone"), `use method = "dump", or run saoluu on the server's host`)
	}
	p.data = found[0]
	if _, err := os.ReadDir(p.data); errors.Is(err, fs.ErrPermission) {
		return fault.New(fault.Denied, m.op("back up"), fmt.Errorf("the server's files in %q cannot be read", p.data), "let the user that runs saoluu read them: the group mysql, or CAP_DAC_READ_SEARCH as in saoluu.service")
	} else if err != nil {
		return fault.New(fault.Absent, m.op("back up"), err, "see whether the server's data folder is on this host")
	}
	version := p.sure[0].Value
	program, tool, err := Mariabackup(ctx, m.Bin)
	if err != nil {
		return err
	}
	if tool != version {
		return fault.New(fault.MissingTool, m.op("back up"), fmt.Errorf("the server is %s, and %s is of %s", version, filepath.Base(program), tool), "install the mariadb-backup of the server's version, and name its folder in bin")
	}
	p.program = program
	return nil
}

// mariabackupVersion is how mariabackup tells its version.
var mariabackupVersion = regexp.MustCompile(`MariaDB server (\S+)`)

// Mariabackup returns the path of mariabackup and its version, as MariaDBVersion gives
// it. bin is the only folder looked in, unless it is empty. The error is
// fault.MissingTool, with the name of the package.
func Mariabackup(ctx context.Context, bin string) (path, version string, err error) {
	for _, name := range []string{"mariabackup", "mariadb-backup"} {
		path := filepath.Join(bin, name)
		if bin == "" {
			if path, err = command.LookPath(name); err != nil {
				continue
			}
		}
		told := ""
		_, err := command.Run(ctx, command.Cmd{
			Argv: []string{path, "--no-defaults", "--version"}, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
			StderrLine: func(line []byte) { // where it tells it
				if found := mariabackupVersion.FindSubmatch(line); found != nil {
					told = MariaDBVersion(string(found[1]))
				}
			},
		})
		if ctx.Err() != nil {
			return "", "", context.Cause(ctx)
		}
		if err == nil && told != "" {
			return path, told, nil
		}
	}
	return "", "", fault.New(fault.MissingTool, "find mariabackup", errors.New("not installed"), "install mariadb-backup")
}

// release ends what still runs or waits, and removes what lies in scratch.
func (p *mariaPhysical) release() error {
	p.cancel()
	p.nudge()
	<-p.done
	return errors.Join(p.remove(), removeAll(p.options), p.server.Close())
}

// known returns the facts once the stream is read, or those that hold without it.
func (p *mariaPhysical) known(ctx context.Context) ([]Fact, error) {
	p.nudge()
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	if ctx.Err() != nil { // both may have happened
		return nil, context.Cause(ctx)
	}
	return ofPart(partServer, append(p.sure, p.facts...)), p.missed
}

// serve waits for a reader and gives it the stream.
func (p *mariaPhysical) serve(ctx context.Context) {
	p.feed.serve(func(pipe io.Writer) (func(bool), error) {
		if ctx.Err() != nil {
			return func(bool) {}, context.Cause(ctx)
		}
		facts, err := p.save(ctx, pipe)
		return func(whole bool) {
			got, missed := facts(ctx, whole)
			if whole {
				p.facts, p.missed = got, missed
			}
		}, err
	})
}

// save writes the stream into the pipe. What it returns reads the facts, and must be
// called.
func (p *mariaPhysical) save(ctx context.Context, pipe io.Writer) (facts func(ctx context.Context, whole bool) ([]Fact, error), err error) {
	m := p.source
	none := func(context.Context, bool) ([]Fact, error) { return nil, nil }
	conn, err := m.session(ctx, p.server)
	if err != nil {
		return none, err
	}
	before, err := m.look(ctx, conn)
	if err != nil {
		return none, errors.Join(m.fault("survey the databases", err), conn.Close())
	}
	frozen, err := p.copy(ctx, conn, pipe)
	return func(ctx context.Context, whole bool) ([]Fact, error) {
		defer conn.Close()
		if !whole {
			return nil, nil
		}
		got, err := before.facts(ctx, conn, frozen)
		return got, m.fault("read the facts", err)
	}, err
}
