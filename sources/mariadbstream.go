package sources

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

const (
	// stillWait is how long the server may take to hold still: others that write
	// wait as long behind a statement that does not end.
	stillWait = 5 * time.Second
	// stillPause and stillTries: how often it is asked again, and how long others
	// may work in between.
	stillPause = 20 * time.Second
	stillTries = 9
	// stillLimit bounds how long it holds still. A dump takes a tenth of a second
	// to open its snapshot.
	stillLimit = 20 * time.Second
)

// mariaStreams are the dumps of one backup. A dump must not be kept waiting: the
// server drops a client that does not read for a minute (net_write_timeout). So it is
// a feed.
type mariaStreams struct {
	source  *MariaDB
	server  *sql.DB
	scratch string
	users   []Fact
	cancel  context.CancelFunc
	all     []*mariaStream
}

// A mariaStream is the dump of one database.
type mariaStream struct {
	*mariaStreams
	*feed
	database, part   string
	program, options string
	facts            []Fact // valid when the feed is done
	missed           error  // why there are none, valid then
	canary           *Fact  // that was planted in this database; nil: none
}

// start makes the pipes, and the goroutines that wait at them.
func (s *mariaStreams) start(ctx context.Context, names []string, program, options string) ([]Part, error) {
	m := s.source
	conn, err := m.session(ctx, s.server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	accounts, err := readAccounts(ctx, conn)
	if err != nil {
		return nil, m.fault("read the users", err)
	}
	s.users = accounts.facts()
	users := filepath.Join(s.scratch, partGlobals+".sql")
	if err := os.WriteFile(users, []byte(accounts.script()), 0o600); err != nil {
		return nil, scratchError(s.scratch, err)
	}
	var parts []Part
	for i, name := range names {
		d := &mariaStream{
			mariaStreams: s, database: name, part: m.partOf(name), program: program, options: options,
		}
		if d.feed, err = newFeed(s.scratch, filepath.Join(s.scratch, "dump-"+strconv.Itoa(i))); err != nil {
			return nil, err
		}
		s.all = append(s.all, d)
		parts = append(parts, Part{
			Name: d.part, Filename: strings.TrimPrefix(d.part, partDatabase+":") + ".sql", Dump: d.dump(m.Password),
		})
	}
	parts = append(parts, Part{Name: partGlobals, Filename: partGlobals + ".sql", File: users})
	ctx, s.cancel = context.WithCancel(ctx)
	for _, d := range s.all {
		go d.serve(ctx)
	}
	return parts, nil
}

// release ends what still runs or waits, and removes the pipes and the option file.
func (s *mariaStreams) release() error {
	if s.cancel != nil {
		s.cancel()
	}
	var problems []error
	for _, d := range s.all {
		if s.cancel != nil {
			d.nudge()
			<-d.done
		}
		problems = append(problems, d.remove())
	}
	problems = append(problems, removeAll(filepath.Join(s.scratch, "client.cnf"), filepath.Join(s.scratch, partGlobals+".sql")), s.server.Close())
	return errors.Join(problems...)
}

// serve waits for a reader and gives it the dump.
func (d *mariaStream) serve(ctx context.Context) {
	d.feed.serve(func(pipe io.Writer) (func(bool), error) {
		if ctx.Err() != nil {
			return func(bool) {}, context.Cause(ctx)
		}
		facts, err := d.save(ctx, pipe)
		return func(whole bool) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if !whole {
				cancel() // its part has failed; only the session must end
			}
			got, missed := facts(ctx)
			if whole {
				d.facts, d.missed = got, missed
			}
		}, err
	})
}

// save writes the dump into the pipe while the facts of the same snapshot are read.
// What it returns waits for them, and must be called.
func (d *mariaStream) save(ctx context.Context, pipe io.Writer) (facts func(context.Context) ([]Fact, error), err error) {
	m := d.source
	none := func(context.Context) ([]Fact, error) { return nil, nil }
	conn, err := m.session(ctx, d.server)
	if err != nil {
		return none, err
	}
	before, err := d.survey(ctx, conn)
	if err != nil {
		return none, errors.Join(m.fault("survey "+quoteMaria(d.database), err), conn.Close())
	}
	if database, _ := m.Canary.name(); database == d.database && m.Canary.Table != "" {
		if d.canary, err = m.plant(ctx, conn); err != nil {
			return none, errors.Join(err, conn.Close())
		}
	}
	out := &dumpWatch{w: pipe, opened: make(chan struct{})}
	dumping, err := d.freeze(ctx, conn, out)
	if err != nil {
		return none, errors.Join(err, conn.Close())
	}
	reading, stop := context.WithCancel(ctx)
	tight := make(chan factsResult, 1)
	go func() {
		f, err := before.tight(reading, conn)
		tight <- factsResult{f, err}
	}()
	facts = func(ctx context.Context) ([]Fact, error) {
		defer conn.Close()
		defer stop()
		if ctx.Err() != nil {
			stop()
		}
		result := <-tight
		if result.err != nil {
			return nil, m.fault("read the facts of "+quoteMaria(d.database), result.err)
		}
		// The snapshot ends here, so that what it does not cover is seen as it now is.
		if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
			return nil, m.fault("read the facts of "+quoteMaria(d.database), err)
		}
		after, err := d.survey(ctx, conn)
		if err != nil {
			return nil, m.fault("read the facts of "+quoteMaria(d.database), err)
		}
		return append(result.facts, before.steady(after)...), nil
	}
	if _, err := dumping.Wait(); err != nil {
		return facts, d.dumpFault(err)
	}
	if !out.complete() {
		return facts, fault.New(fault.Failed, m.op("dump "+quoteMaria(d.database)), errors.New("the dump ends before its end"), "see what "+filepath.Base(d.program)+" says by hand")
	}
	return facts, nil
}

type factsResult struct {
	facts []Fact
	err   error
}

// freeze starts the dump and opens the snapshot of the facts while nothing can be
// committed, so that both see the same.
func (d *mariaStream) freeze(ctx context.Context, facts *sql.Conn, out *dumpWatch) (_ *command.Process, err error) {
	m := d.source
	lock, err := d.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if _, err := facts.ExecContext(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT"); err != nil {
		return nil, m.fault("open a snapshot", err)
	}
	dump := m.dump(d.program, d.options, d.database)
	dump.Stdout = out
	dumping, err := command.Start(ctx, dump)
	if err != nil {
		return nil, err
	}
	limit := time.NewTimer(stillLimit)
	defer limit.Stop()
	select {
	case <-out.opened:
	case <-dumping.Done(): // how it ended is judged by who waits for it
	case <-limit.C:
		err = fault.New(fault.TimedOut, m.op("dump "+quoteMaria(d.database)), fmt.Errorf("the dump did not open its snapshot in %s", stillLimit), "see whether the server is overloaded")
	}
	// A session that was lost meanwhile took the lock with it.
	if _, uerr := lock.ExecContext(ctx, "UNLOCK TABLES"); uerr != nil && err == nil {
		err = m.fault("let others write again", uerr)
	}
	if err != nil {
		return nil, errors.Join(err, stopped(dumping))
	}
	return dumping, nil
}

// stopped ends a process whose own end says nothing more.
func stopped(p *command.Process) error {
	err := p.Stop(time.Second)
	var exit *command.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// hold makes the server hold still, as long as the session lasts. Behind a statement
// that does not end everybody else would wait too, so it is given up and tried again.
func (d *mariaStream) hold(ctx context.Context) (*sql.Conn, error) {
	m := d.source
	conn, err := m.session(ctx, d.server)
	if err != nil {
		return nil, err
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf("SET lock_wait_timeout = %d", int(stillWait.Seconds())))
	for try := 1; err == nil; try++ {
		_, err = conn.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK")
		var me *mysql.MySQLError
		if err == nil {
			return conn, nil
		}
		if !errors.As(err, &me) || me.Number != 1205 || try == stillTries {
			break
		}
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(stillPause):
			err = nil
		}
	}
	err = m.fault("hold still for a snapshot", err)
	if fault.KindOf(err) == fault.Locked {
		err = fault.New(fault.Locked, "", err, "see in SHOW PROCESSLIST which statement runs long, or choose a quieter time")
	}
	return nil, errors.Join(err, conn.Close())
}

// dumpTroubles are words of mariadb-dump that mean more than that it failed (MariaDB
// manual, "Error Codes").
var dumpTroubles = []struct {
	text *regexp.Regexp
	kind fault.Kind
	hint string
}{
	{regexp.MustCompile(`references invalid table\(s\) or column\(s\)`), fault.Failed, "repair or drop the view, which cannot be used either"},
	{regexp.MustCompile(`Lost connection|has gone away|Can't connect|error:? 20(02|03|06|13)\b|Server shutdown`), fault.Absent, "see the server's log: it ended, was restarted or dropped the connection during the dump"},
	{regexp.MustCompile(`Error 1412|1412: |Table definition has changed|doesn't exist|Couldn't find table|error:? 1146\b`), fault.Failed, "run the backup again when nobody drops or changes tables"},
	{regexp.MustCompile(`error:? (1053|1317)\b|Query execution was interrupted`), fault.Failed, "see who ended the dump's session on the server"},
	{regexp.MustCompile(`larger than max_allowed_packet|error:? (1153|2020)\b`), fault.Failed, "raise the server's max_allowed_packet: a row is longer"},
}

// dumpFault adds what a dump's own error means.
func (d *mariaStream) dumpFault(err error) error {
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	op := d.source.op("dump " + quoteMaria(d.database))
	for _, t := range dumpTroubles {
		if t.text.MatchString(exit.Stderr) {
			return fault.New(t.kind, op, err, t.hint)
		}
	}
	return fault.New(fault.Failed, op, err, "")
}

// facts gathers the facts of all streams. Of one that was not read whole there are
// none, and its part is known to have failed.
func (s *mariaStreams) facts(ctx context.Context) ([]Fact, error) {
	var all []Fact
	for _, d := range s.all {
		d.nudge()
		select {
		case <-d.done:
		case <-ctx.Done():
		}
		if ctx.Err() != nil { // both may have happened
			return nil, context.Cause(ctx)
		}
		if d.missed != nil {
			return nil, d.missed
		}
		all = append(all, ofPart(d.part, d.facts)...)
	}
	return append(all, ofPart(partGlobals, s.users)...), nil
}

// dumpBody is the first thing that mariadb-dump writes after its header, and so after
// it has opened its snapshot.
var dumpBody = regexp.MustCompile(`(?m)^-- (Table|Temporary table|Temporary view|Sequence) structure |^-- Dumping |^-- Dump completed`)

// dumpEnd is the last line of a dump.
const dumpEnd = "-- Dump completed"

// dumpWatch passes a dump on and looks at both its ends.
type dumpWatch struct {
	w      io.Writer
	head   []byte
	tail   []byte
	once   sync.Once
	opened chan struct{} // closed once the snapshot is open
	past   bool
}

// headLimit is by how far the header is longer than any that is known.
const headLimit = 64 << 10

func (d *dumpWatch) Write(p []byte) (int, error) {
	if !d.past {
		d.head = append(d.head, p[:min(len(p), headLimit)]...)
		if len(d.head) >= headLimit || dumpBody.Match(d.head) {
			d.past, d.head = true, nil
			d.once.Do(func() { close(d.opened) })
		}
	}
	const keep = 4 * len(dumpEnd)
	d.tail = append(d.tail, p[max(0, len(p)-keep):]...)
	d.tail = d.tail[max(0, len(d.tail)-keep):]
	return d.w.Write(p)
}

func (d *dumpWatch) complete() bool { return bytes.Contains(d.tail, []byte(dumpEnd)) }
