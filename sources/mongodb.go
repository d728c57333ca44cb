package sources

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// MongoDB is a source of databases of one MongoDB deployment, read by mongodump: an
// archive that is not compressed, because compression would undo deduplication. What
// is dumped is each collection as it is when its turn comes; only with Oplog are all
// of one instant.
//
// It was never tried against a real server: what mongodump takes and says is taken
// from its manual and its source text (Database Tools 100.x).
type MongoDB struct {
	// Host is a name or an address, with the name of its replica set and a slash
	// before it if it is in one: "rs0/db1.example.vn". Empty means 127.0.0.1.
	Host string
	// Port is 27017 when 0.
	Port int
	// User is optional, as in a deployment that knows no users. It needs the role
	// backup or, for some databases only, read on each.
	User string
	// AuthDatabase is where the user is kept; empty means admin.
	AuthDatabase string
	// Password is handed to mongodump in a file of scratch.
	Password string
	// Exactly one of Database, Databases and All says what is saved: one database,
	// these, or all with their users and roles.
	Database  string
	Databases []string
	All       bool
	// Oplog saves what is written meanwhile too, so that the copy is of the instant
	// at which the dump ended. It needs a replica set, and All.
	Oplog bool
	// SSLMode is disable, require (which believes any certificate) or verify-full;
	// empty means disable on this machine, else verify-full.
	SSLMode string
	// CA is the file of the authorities to trust; empty means the system's.
	CA string
	// Bin is the folder of mongodump. Empty means along PATH.
	Bin string
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source   = (*MongoDB)(nil)
	_ Locator  = (*MongoDB)(nil)
	_ Examiner = (*MongoDB)(nil)
)

// MongoTools says where MongoDB's programs come from.
const MongoTools = "install mongodb-database-tools of MongoDB, 100.3 or newer, or name its folder in bin"

// mongoReport runs a dump, keeps what it says beside it, and fails when nothing was
// dumped: mongodump finds nothing wrong with a database that does not exist.
const mongoReport = `report=$1
shift
"$@" 2>"$report"
status=$?
if [ $status -ne 0 ]; then tail -n 20 "$report" >&2; exit $status; fi
grep -q 'done dumping' "$report" && exit 0
echo 'mongodump dumped nothing: the database does not exist, or is empty' >&2
exit 1`

// Prepare makes sure that mongodump gets in, and makes the dumps ready to be read.
// The errors are fault.Absent for a server that is not there, fault.Denied for a
// wrong password or a right that is missing, and fault.MissingTool for want of
// mongodump or for one that is too old.
func (m *MongoDB) Prepare(ctx context.Context, scratch string) (_ Payload, err error) {
	if ctx.Err() != nil {
		return Payload{}, context.Cause(ctx)
	}
	if err := m.check(); err != nil {
		return Payload{}, err
	}
	program, err := m.program(ctx)
	if err != nil {
		return Payload{}, err
	}
	secret := filepath.Join(scratch, "mongodump.yaml")
	left := []string{secret}
	release := sync.OnceValue(func() error { return removeAll(left...) })
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	// JSON is YAML (YAML 1.2, "Relation to JSON").
	text, err := json.Marshal(map[string]string{"password": m.Password})
	if err != nil {
		return Payload{}, err
	}
	if err := secretFile(secret, string(text)+"\n"); err != nil {
		return Payload{}, err
	}
	names := m.Databases
	if m.All || m.Database != "" {
		names = []string{m.Database}
	}
	if err := m.enter(ctx, program, secret, names); err != nil {
		return Payload{}, err
	}
	p := Payload{At: m.Now(), FactsLast: true, Release: release}
	reports := map[string]string{}
	for i, name := range names {
		part := partDatabase
		if len(m.Databases) > 0 {
			part = PartOfDatabase(name)
		}
		report := filepath.Join(scratch, "mongodump-"+strconv.Itoa(i))
		reports[part], left = report, append(left, report)
		dump := m.dump(program, secret, name, "--archive")
		dump.Argv = append([]string{"/bin/sh", "-c", mongoReport, "mongodump", report}, dump.Argv...)
		p.Parts = append(p.Parts, Part{Name: part, Filename: strings.TrimPrefix(part, partDatabase+":") + ".archive", Dump: &dump})
	}
	p.Facts = func(ctx context.Context) ([]Fact, error) { return mongoFacts(ctx, reports) }
	return p, nil
}

// Examine looks for mongodump.
func (m *MongoDB) Examine(ctx context.Context) error {
	if err := m.check(); err != nil {
		return err
	}
	_, err := m.program(ctx)
	return err
}

// Locations returns the folder of the server's data when it is this machine's. Its
// configuration says which, or it is where the packages put it.
func (m *MongoDB) Locations(context.Context) ([]string, error) {
	if !m.local() {
		return nil, nil
	}
	dirs := []string{"/var/lib/mongodb", "/var/lib/mongo", "/data/db"}
	if text, err := os.ReadFile("/etc/mongod.conf"); err == nil {
		if found := mongoPath.FindSubmatch(text); found != nil {
			dirs = []string{string(found[1])}
		}
	}
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return []string{dir}, nil
		}
	}
	return nil, fault.New(fault.Unknown, m.op("find the data of the server"), errors.New("neither /etc/mongod.conf nor the usual folders tell"), "")
}

// mongoPath is storage.dbPath in mongod's configuration (MongoDB manual,
// "Configuration File Options").
var mongoPath = regexp.MustCompile(`(?m)^\s*dbPath:\s*"?(/[^"\s]+)`)

func (m *MongoDB) check() error {
	refuse := func(text, hint string) error {
		return fault.New(fault.Usage, "mongodb", errors.New(text), hint)
	}
	chosen := 0
	for _, said := range []bool{m.Database != "", len(m.Databases) > 0, m.All} {
		if said {
			chosen++
		}
	}
	switch {
	case chosen != 1 || slices.Contains(m.Databases, ""):
		return refuse("it is not clear which databases are saved", "set one of database, databases and all")
	case m.Oplog && !m.All:
		return refuse("oplog goes with all alone", "set all, or take oplog out")
	case (m.User == "") != (m.Password == ""):
		return refuse("user and password belong together", "set both, or neither")
	case m.SSLMode != "" && !slices.Contains([]string{"disable", "require", "verify-full"}, m.SSLMode):
		return refuse(fmt.Sprintf("unknown sslmode %q", m.SSLMode), "use disable, require or verify-full")
	}
	return nil
}

func (m *MongoDB) host() string { return cmp.Or(m.Host, "127.0.0.1") }

func (m *MongoDB) local() bool {
	name := m.host()[strings.IndexByte(m.host(), '/')+1:]
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func (m *MongoDB) op(what string) string {
	return fmt.Sprintf("%s: MongoDB at %q", what, m.host())
}

// mongoVersion is how MongoDB's tools tell their version. Those of a server before
// 4.4 count differently and know no file for the password.
var mongoVersion = regexp.MustCompile(`(?m)^mongodump version: r?(\d+)\.(\d+)`)

// program finds a mongodump that reads its password from a file (MongoDB Database
// Tools, --config: new in 100.3).
func (m *MongoDB) program(ctx context.Context) (string, error) {
	path, err := vendorProgram(m.Bin, "mongodump", MongoTools)
	if err != nil {
		return "", err
	}
	said, err := hear(ctx, command.Cmd{Argv: []string{path, "--version"}, Env: mongoEnv()})
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	v := mongoVersion.FindStringSubmatch(said)
	if err != nil || v == nil {
		return "", fault.New(fault.MissingTool, fmt.Sprintf("program %q", path), errors.New("it does not tell its version"), MongoTools)
	}
	major, _ := strconv.Atoi(v[1]) // digits
	minor, _ := strconv.Atoi(v[2])
	if major < 100 || major == 100 && minor < 3 {
		return "", fault.New(fault.MissingTool, fmt.Sprintf("program %q", path), fmt.Errorf("version %d.%d takes its password as an argument alone, which everybody could read", major, minor), MongoTools)
	}
	return path, nil
}

func mongoEnv() []string { return []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/nonexistent"} }

// dump is mongodump of one database, or of all when name is empty.
func (m *MongoDB) dump(program, secret, name string, args ...string) command.Cmd {
	host := m.host()
	if strings.Count(host, ":") > 1 && !strings.Contains(host, "[") {
		host = "[" + host + "]"
	}
	argv := []string{program, "--host=" + host + ":" + strconv.Itoa(cmp.Or(m.Port, 27017))}
	if m.User != "" {
		argv = append(argv, "--username="+m.User, "--authenticationDatabase="+cmp.Or(m.AuthDatabase, "admin"), "--config="+secret)
	}
	mode := m.SSLMode
	if mode == "" && !m.local() {
		mode = "verify-full"
	}
	switch {
	case mode == "require":
		argv = append(argv, "--ssl", "--tlsInsecure")
	case mode == "verify-full" && m.CA != "":
		argv = append(argv, "--ssl", "--sslCAFile="+m.CA)
	case mode == "verify-full":
		argv = append(argv, "--ssl")
	}
	if name != "" {
		argv = append(argv, "--db="+name)
	} else if m.Oplog {
		argv = append(argv, "--oplog")
	}
	return command.Cmd{Argv: append(argv, args...), Env: mongoEnv(), Secrets: []string{m.Password}}
}

// enter connects as the dump will, for a collection that does not exist: mongodump
// then dumps nothing, and it is known beforehand whether it gets in. Of all databases
// it is asked of admin: whoever may not look there is shown some databases alone, and
// mongodump would leave the others out without a word.
func (m *MongoDB) enter(ctx context.Context, program, secret string, names []string) error {
	probe := *m
	probe.Oplog = false
	for _, name := range names {
		try := probe.dump(program, secret, cmp.Or(name, "admin"), "--collection=saoluu.does_not_exist", "--archive=/dev/null")
		if said, err := hear(ctx, try); err != nil {
			return diagnose(m.op("connect"), said, err, mongoTroubles)
		}
	}
	return nil
}

// mongoTroubles are words of mongodump and of the driver it uses.
var mongoTroubles = []trouble{
	{regexp.MustCompile(`AuthenticationFailed|unable to authenticate|Authentication failed`), fault.Denied, "correct user, password and auth_database"},
	{regexp.MustCompile(`\(Unauthorized\)|not authorized on|requires authentication`), fault.Denied, "grant the user the role backup of the database admin"},
	{regexp.MustCompile(`x509:|tls: |certificate`), fault.Denied, "correct ca or sslmode, or the server's certificate"},
	{regexp.MustCompile(`server selection error|connection refused|no such host|i/o timeout|could not connect to server|no reachable servers|error connecting to host`), fault.Absent, "start the server, or correct host and port"},
}

// MongoDumped is how mongodump says that it has done with a collection. Newer ones
// quote the name.
var MongoDumped = regexp.MustCompile(`(?m)\tdone dumping (.+) \((\d+) documents?\)\r?$`)

// mongoFacts are the numbers of documents that the dumps themselves tell.
func mongoFacts(ctx context.Context, reports map[string]string) ([]Fact, error) {
	var all []Fact
	for part, report := range reports {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text, err := os.ReadFile(report)
		if err != nil {
			return nil, fault.New(fault.Failed, "facts of part "+part, err, "")
		}
		all = append(all, ofPart(part, MongoCounts(string(text), MongoDumped))...)
	}
	return all, nil
}

// MongoCounts reads numbers of documents from what a tool of MongoDB says: pattern
// has the name of a collection and its number. Collections of the server's own are
// left out, since a restore makes them anew in another number.
func MongoCounts(said string, pattern *regexp.Regexp) []Fact {
	var facts []Fact
	for _, found := range pattern.FindAllStringSubmatch(said, -1) {
		name := found[1]
		if plain, err := strconv.Unquote(name); err == nil {
			name = plain
		}
		database, collection, _ := strings.Cut(name, ".")
		if slices.Contains([]string{"", "admin", "config", "local"}, database) || collection == "" || strings.HasPrefix(collection, "system.") {
			continue
		}
		facts = append(facts, Fact{Kind: FactRows, Of: name, Value: found[2]})
	}
	return facts
}
