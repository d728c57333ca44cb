package sources

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
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
	"time"
	"unicode/utf16"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// SQLServer is a source of databases of one Microsoft SQL Server instance. The server
// itself writes one file for each into a folder that we see too, and reads it back
// with its checksums; what lies there is then saved. Its own chain of backups is left
// alone (COPY_ONLY).
//
// It was never tried against a real server: what sqlcmd takes and says is taken from
// its manual and from the source text of go-sqlcmd, the statements from the manual of
// Transact-SQL.
type SQLServer struct {
	// Host is a name or an address; empty means 127.0.0.1.
	Host string
	// Port is 1433 when 0.
	Port int
	// User is a login that may back up the databases and create one, which the server
	// asks of whoever reads a backup back. Empty means the ticket in TicketCache.
	User string
	// Password goes to go-sqlcmd in a file, and to the sqlcmd of mssql-tools, which
	// reads none, in the environment of that one process.
	Password string
	// TicketCache is the file of a Kerberos ticket, for sqlcmd of mssql-tools.
	TicketCache string
	// Exactly one of Database, Databases and All says what is saved: one database,
	// these, or all but tempdb, the server's own master, model and msdb among them.
	Database  string
	Databases []string
	All       bool
	// Folder is where the server leaves the files, as we see it; ServerFolder is its
	// own name for the same folder, empty for the same.
	Folder, ServerFolder string
	// SSLMode is require (which believes any certificate) or verify-full; empty means
	// require on this machine, else verify-full. The connection is always encrypted.
	SSLMode string
	// Bin is the folder of sqlcmd. Empty means along PATH and where its packages put it.
	Bin string
	// FactsMode is that of Files, for the files the server left.
	FactsMode string
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source   = (*SQLServer)(nil)
	_ Locator  = (*SQLServer)(nil)
	_ Examiner = (*SQLServer)(nil)
)

// Prepare has the server write the files. The errors are fault.Absent for a server or
// database that is not there, fault.Denied for a wrong password or a right that is
// missing, and fault.MissingTool for want of sqlcmd.
func (s *SQLServer) Prepare(ctx context.Context, scratch string) (Payload, error) {
	if ctx.Err() != nil {
		return Payload{}, context.Cause(ctx)
	}
	if err := s.check(); err != nil {
		return Payload{}, err
	}
	if _, err := os.Stat(scratch); err != nil {
		return Payload{}, scratchError(scratch, err)
	}
	left, err := expect(s.op("back up"), s.Folder, s.FactsMode, s.Now)
	if err != nil {
		return Payload{}, err
	}
	// What sqlcmd needs to know is gone as soon as it has ended.
	home, err := os.MkdirTemp(scratch, "sqlcmd-")
	if err != nil {
		return Payload{}, scratchError(scratch, err)
	}
	paths, err := s.backUp(ctx, home)
	if err = errors.Join(err, os.RemoveAll(home)); err != nil {
		return Payload{}, err
	}
	return left.payload(ctx, scratch, paths)
}

// Examine looks for sqlcmd and for the folder.
func (s *SQLServer) Examine(ctx context.Context) error {
	if err := s.check(); err != nil {
		return err
	}
	if _, err := marks(s.Folder); err != nil {
		return err
	}
	_, err := s.program(ctx)
	return err
}

// Locations returns the folder of the files, and that of the server's data where the
// packages for Linux put it.
func (s *SQLServer) Locations(context.Context) ([]string, error) {
	all := []string{s.Folder}
	const data = "/var/opt/mssql/data"
	if _, err := os.Stat(data); err == nil && s.local() {
		all = append(all, data)
	}
	return all, nil
}

func (s *SQLServer) check() error {
	refuse := func(text, hint string) error {
		return fault.New(fault.Usage, "sqlserver", errors.New(text), hint)
	}
	chosen := 0
	for _, said := range []bool{s.Database != "", len(s.Databases) > 0, s.All} {
		if said {
			chosen++
		}
	}
	switch {
	case chosen != 1 || slices.Contains(s.Databases, ""):
		return refuse("it is not clear which databases are saved", "set one of database, databases and all")
	case !filepath.IsAbs(s.Folder):
		return refuse("no folder that both see", "set folder")
	case (s.User == "") != (s.Password == "") || (s.User == "") != (s.TicketCache != ""):
		return refuse("it is not clear who connects", "set user and password, or ticket_cache alone")
	case strings.ContainsAny(s.Password, "\x00\n\r"):
		return refuse("the password has a line break", "take the line break out of the secret")
	case s.SSLMode != "" && s.SSLMode != "require" && s.SSLMode != "verify-full":
		return refuse(fmt.Sprintf("unknown sslmode %q", s.SSLMode), "use require or verify-full")
	case slices.ContainsFunc(append(slices.Clone(s.Databases), s.Database), func(name string) bool { return strings.EqualFold(name, "tempdb") }):
		return refuse("tempdb cannot be backed up", "leave it out: the server makes it anew")
	}
	return nil
}

func (s *SQLServer) host() string { return cmp.Or(s.Host, "127.0.0.1") }
func (s *SQLServer) port() int    { return cmp.Or(s.Port, 1433) }

func (s *SQLServer) local() bool {
	ip := net.ParseIP(s.host())
	return s.host() == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *SQLServer) op(what string) string {
	return fmt.Sprintf("%s: SQL Server at %q", what, s.host())
}

// A sqlcmd is one of the two programs of that name.
type sqlcmd struct {
	path  string
	reads bool // a file with its password
}

// sqlcmdHint says where sqlcmd comes from.
const sqlcmdHint = "install go-sqlcmd or mssql-tools18 of Microsoft, or name the folder of sqlcmd in bin"

// sqlcmdVersion is how the two tell their version: "Version 18.4.0001.1 Linux" that
// of mssql-tools, "Version: 1.8.0" the other.
var sqlcmdVersion = regexp.MustCompile(`(?m)^Version(:?) v?(\d+)\.\d+`)

func (s *SQLServer) program(ctx context.Context) (sqlcmd, error) {
	path, err := vendorProgram(s.Bin, "sqlcmd", sqlcmdHint)
	if err != nil && s.Bin == "" {
		if found, ferr := command.LookPath("sqlcmd", "/opt/mssql-tools18/bin", "/opt/mssql-tools/bin"); ferr == nil {
			path, err = found, nil
		}
	}
	if err != nil {
		return sqlcmd{}, err
	}
	said, _ := hear(ctx, command.Cmd{Argv: []string{path, "-?"}, Env: sqlcmdEnv("/nonexistent")}) // its status differs; what it says counts
	if ctx.Err() != nil {
		return sqlcmd{}, context.Cause(ctx)
	}
	v := sqlcmdVersion.FindStringSubmatch(said)
	if v == nil {
		return sqlcmd{}, fault.New(fault.MissingTool, fmt.Sprintf("program %q", path), errors.New("it does not tell its version"), sqlcmdHint)
	}
	reads := v[1] == ":"
	if reads && s.User == "" {
		return sqlcmd{}, fault.New(fault.MissingTool, fmt.Sprintf("program %q", path), errors.New("go-sqlcmd knows no Kerberos on this system"), "name the folder of the sqlcmd of mssql-tools18 in bin, or set user and password")
	}
	return sqlcmd{path, reads}, nil
}

func sqlcmdEnv(home string) []string {
	return []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + home}
}

// sql runs a script. What is returned are the lines of its output, the rows among
// them, and all that was said. An error ends the script with status 1 (-b).
func (s *SQLServer) sql(ctx context.Context, home string, program sqlcmd, script string) (rows []string, said string, err error) {
	if err := secretFile(filepath.Join(home, "script.sql"), script); err != nil {
		return nil, "", err
	}
	argv := []string{program.path, "-S", "tcp:" + s.host() + "," + strconv.Itoa(s.port())}
	env := sqlcmdEnv(home)
	switch {
	case s.User == "":
		argv, env = append(argv, "-E"), append(env, "KRB5CCNAME=FILE:"+s.TicketCache)
	case program.reads:
		argv, err = append(argv, "-U", s.User), s.context(home)
	default:
		argv, env = append(argv, "-U", s.User), append(env, "SQLCMDPASSWORD="+s.Password)
	}
	if err != nil {
		return nil, "", err
	}
	argv = append(argv, "-N")
	if s.SSLMode == "require" || s.SSLMode == "" && s.local() {
		argv = append(argv, "-C")
	}
	argv = append(argv, "-l", "30", "-b", "-r1", "-h-1", "-W", "-w", "4000", "-i", "script.sql")
	var e ear
	c := command.Cmd{Argv: argv, Env: env, Dir: home, Secrets: []string{s.Password}}
	c.StderrLine = func(line []byte) { _, _ = e.Write(append(line[:len(line):len(line)], '\n')) }
	_, err = command.Lines(ctx, c, func(line []byte) error {
		rows = append(rows, strings.TrimSpace(string(line)))
		_, _ = e.Write(append(line[:len(line):len(line)], '\n'))
		return nil
	})
	return rows, command.Blank(string(e.text), c.Secrets), err
}

// context writes the file from which go-sqlcmd takes the password of its user, when
// neither argument nor environment has one (go-sqlcmd, package sqlconfig). JSON is YAML.
func (s *SQLServer) context(home string) error {
	type table = map[string]any
	text, err := json.Marshal(table{
		"version": "v1", "currentcontext": "saoluu",
		"endpoints": []table{{"name": "server", "endpoint": table{"address": s.host(), "port": s.port()}}},
		"contexts":  []table{{"name": "saoluu", "context": table{"endpoint": "server", "user": "user"}}},
		"users": []table{{"name": "user", "authentication-type": "basic", "basic-auth": table{
			"username": s.User, "password-encryption": "none", "password": base64.StdEncoding.EncodeToString([]byte(s.Password)),
		}}},
	})
	if err != nil {
		return err
	}
	dir := filepath.Join(home, ".sqlcmd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return scratchError(home, err)
	}
	return secretFile(filepath.Join(dir, "sqlconfig"), string(text)+"\n")
}

// sqlEnglish makes the server say what we look for.
const sqlEnglish = "SET NOCOUNT ON;\nSET LANGUAGE us_english;\n"

// sqlNames asks for every database that can be backed up at all, its name in
// hexadecimal so that no character of it is lost on the way, and its state; then for
// their number, to know that none was lost, and whether this login sees all there are.
const sqlNames = sqlEnglish + `SELECT 'database ' + CONVERT(varchar(600), CONVERT(varbinary(256), name), 2) + ' ' + state_desc FROM sys.databases WHERE name <> N'tempdb' AND source_database_id IS NULL ORDER BY database_id;
SELECT 'databases ' + CONVERT(varchar(20), COUNT(*)) FROM sys.databases WHERE name <> N'tempdb' AND source_database_id IS NULL;
SELECT 'all ' + CONVERT(varchar(20), HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW ANY DATABASE'));
GO
`

// backUp has the server write one file for each database, and returns their paths.
func (s *SQLServer) backUp(ctx context.Context, home string) ([]string, error) {
	program, err := s.program(ctx)
	if err != nil {
		return nil, err
	}
	names, err := s.names(ctx, home, program)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, name := range names {
		file := plainFile(name) + ".bak"
		at := sqlText(s.serverPath(file))
		script := fmt.Sprintf("%sDECLARE @database sysname = %s, @file nvarchar(4000) = %s;\nBACKUP DATABASE @database TO DISK = @file WITH COPY_ONLY, CHECKSUM, FORMAT, INIT, NO_COMPRESSION;\nGO\n"+
			"DECLARE @file nvarchar(4000) = %s;\nRESTORE VERIFYONLY FROM DISK = @file WITH CHECKSUM;\nGO\n", sqlEnglish, sqlText(name), at, at)
		op := s.op(fmt.Sprintf("back up %q", name))
		_, said, err := s.sql(ctx, home, program, script)
		if err != nil || !sqlWritten.MatchString(said) || !sqlValid.MatchString(said) {
			return nil, diagnose(op, said, err, sqlTroubles)
		}
		paths = append(paths, filepath.Join(s.Folder, file))
	}
	return paths, nil
}

// What the server says of a backup that it has written, and of one that it has read
// back (messages 3014 and 3262).
var (
	sqlWritten = regexp.MustCompile(`BACKUP DATABASE successfully processed \d+ pages`)
	sqlValid   = regexp.MustCompile(`The backup set on file 1 is valid\.`)
)

// serverPath is a file of the folder as the server names it.
func (s *SQLServer) serverPath(file string) string {
	folder := cmp.Or(s.ServerFolder, s.Folder)
	if strings.Contains(folder, `\`) {
		return strings.TrimRight(folder, `\`) + `\` + file
	}
	return strings.TrimRight(folder, "/") + "/" + file
}

// names lists the databases that are saved. One that cannot be backed up as it is
// fails the run: to leave it out would be to keep silent about it.
func (s *SQLServer) names(ctx context.Context, home string, program sqlcmd) ([]string, error) {
	rows, said, err := s.sql(ctx, home, program, sqlNames)
	if err != nil {
		return nil, diagnose(s.op("list the databases"), said, err, sqlTroubles)
	}
	states, there, number, all := map[string]string{}, []string{}, "none", false
	for _, row := range rows {
		fields := strings.Fields(row)
		switch {
		case len(fields) == 3 && fields[0] == "database":
			name, err := sqlName(fields[1])
			if err != nil {
				return nil, fault.New(fault.Failed, s.op("list the databases"), fmt.Errorf("sqlcmd wrote a name that is none: %w", err), "see what sqlcmd says by hand")
			}
			states[name], there = fields[2], append(there, name)
		case len(fields) == 2 && fields[0] == "databases":
			number = fields[1]
		case len(fields) == 2 && fields[0] == "all":
			all = fields[1] == "1"
		}
	}
	if number != strconv.Itoa(len(there)) {
		return nil, fault.New(fault.Failed, s.op("list the databases"), fmt.Errorf("sqlcmd shows %d of them, the server counts %s", len(there), number), "see what sqlcmd says by hand")
	}
	if s.All && !all {
		return nil, fault.New(fault.Denied, s.op("list the databases"), errors.New("this login does not see all of them, and those that it does not see would be left out without a word"), "GRANT VIEW ANY DATABASE to the login, or name the databases")
	}
	names := there
	if !s.All {
		names = slices.DeleteFunc(append(slices.Clone(s.Databases), s.Database), func(name string) bool { return name == "" })
	}
	for _, name := range names {
		switch state, known := states[name]; {
		case !known:
			return nil, fault.New(fault.Absent, s.op("back up"), fmt.Errorf("there is no database %q that this login may see", name), "correct the name, or grant the login VIEW ANY DATABASE")
		case state != "ONLINE":
			return nil, fault.New(fault.Failed, s.op("back up"), fmt.Errorf("database %q is %s and cannot be backed up", name, state), "bring it online or drop it, or name the databases that are saved")
		}
	}
	if len(names) == 0 {
		return nil, fault.New(fault.Absent, s.op("list the databases"), errors.New("there is none"), "see whether this is the right server")
	}
	return names, nil
}

// sqlName reads a name from the hexadecimal digits of its UTF-16.
func sqlName(code string) (string, error) {
	raw, err := hex.DecodeString(code)
	if err != nil || len(raw) == 0 || len(raw)%2 != 0 {
		return "", errors.Join(errors.New("not UTF-16"), err)
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	return string(utf16.Decode(units)), nil
}

// sqlText is a text as a statement has it. Whatever is not plain goes as the
// hexadecimal digits of its UTF-16, so that neither the code page of sqlcmd, nor a line
// break, nor what sqlcmd takes for a variable makes something else of it.
func sqlText(text string) string {
	plain := !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
	if plain && !strings.Contains(text, "$(") {
		return "N'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	var raw []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		raw = binary.LittleEndian.AppendUint16(raw, unit)
	}
	return "CONVERT(nvarchar(4000), 0x" + hex.EncodeToString(raw) + ")"
}

// sqlTroubles are words of the server's, of sqlcmd's and of its drivers'.
var sqlTroubles = []trouble{
	{regexp.MustCompile(`(?i)Login failed for user|login error`), fault.Denied, "correct user and password, or renew the ticket"},
	{regexp.MustCompile(`(?i)certificate|SSL Provider|TLS Handshake failed`), fault.Denied, "trust the server's certificate on this system, or set sslmode"},
	{regexp.MustCompile(`permission denied|permission was denied|does not have permission`), fault.Denied, "add the login to the role db_backupoperator of the database, and grant it CREATE ANY DATABASE, which reading a backup back takes"},
	{regexp.MustCompile(`Operating system error 112\b|not enough space on the disk|No space left on device|Operating system error 28\b`), fault.NoSpace, "free some space in folder"},
	{regexp.MustCompile(`Operating system error \d+|Cannot open backup device`), fault.Denied, "let the server's own user write to the folder, and name it in server_folder as the server does"},
	{regexp.MustCompile(`Login timeout expired|unable to open tcp connection|connection refused|no such host|Unable to complete login|network-related|TCP Provider`), fault.Absent, "start the server, or correct host and port"},
	{regexp.MustCompile(`detected an error on page|Damage to the backup set|incorrectly formed|checksum`), fault.Failed, "run DBCC CHECKDB on the database: the server finds damage in it, or in what it wrote"},
}
