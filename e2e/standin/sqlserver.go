package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// An instance is an instance of SQL Server, and which sqlcmd is installed.
type instance struct {
	Go             bool   // go-sqlcmd, not that of mssql-tools
	Address        string // as -S has it
	User, Password string
	Blind          bool   // the login may not see all databases
	Ticket         string // file of the Kerberos ticket that lets in
	Untrusted      bool   // its certificate is signed by nobody known
	Databases      map[string]string
	Rows           int
	Folders        map[string]string // of the server, and where they are here
	Fault          string            // "denied", "full", "damaged": of BACKUP; "half": of the file
}

// A session runs one script.
type session struct {
	instance
	variables map[string]string
	restored  map[string]bool
	failed    bool
}

// sqlcmdFlags are those of both programs that we use, and whether a value follows.
func sqlcmdFlags(args []string) (map[string]string, string) {
	got := map[string]string{}
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; arg {
		case "-E", "-C", "-N", "-b", "-W", "-r1", "-h-1", "-?":
			got[arg] = "yes"
		case "-S", "-U", "-l", "-w", "-i", "-Q", "-d":
			if i++; i == len(args) {
				return nil, arg
			}
			got[arg] = args[i]
		default:
			return nil, arg
		}
	}
	return got, ""
}

func sqlcmd(args []string) int {
	in := instance{Address: "tcp:127.0.0.1,1433", Rows: 500}
	server("sqlserver", &in)
	guard(in.Password, in.Go)
	o, unknown := sqlcmdFlags(args)
	switch {
	case unknown != "":
		return fails(1, "Sqlcmd: '%s': Unknown Option. Enter '-?' for help.", unknown)
	case o["-?"] != "" && in.Go:
		fmt.Print("sqlcmd: Install/Create/Query SQL Server, Azure SQL, and Tools\n\nVersion: 1.8.0\n\nFlags:\n-?,--help\n")
		return 0
	case o["-?"] != "":
		fmt.Print("Microsoft (R) SQL Server Command Line Tool\nVersion 18.4.0001.1 Linux\nCopyright (C) 2017 Microsoft Corporation. All rights reserved.\n\nusage: sqlcmd            [-U login id]          [-P password]\n")
		return 1
	}
	if words := in.login(o); words != "" {
		if in.Go {
			return fails(1, "%s", words)
		}
		return fails(1, "Sqlcmd: Error: Microsoft ODBC Driver 18 for SQL Server : %s.", words)
	}
	script := []byte(o["-Q"])
	if o["-i"] != "" {
		var err error
		if script, err = os.ReadFile(o["-i"]); err != nil {
			return fails(1, "Sqlcmd: '%s': Invalid filename.", o["-i"])
		}
	}
	s := session{instance: in, restored: map[string]bool{}}
	for _, batch := range regexp.MustCompile(`(?m)^GO\s*$`).Split(string(script), -1) {
		s.variables = map[string]string{}
		s.batch(batch)
		if s.failed && o["-b"] != "" {
			return 1
		}
	}
	return 0
}

// login returns why nobody gets in.
func (in instance) login(o map[string]string) string {
	password := os.Getenv("SQLCMDPASSWORD")
	if in.Go && password == "" {
		password = contextPassword()
	}
	switch {
	case o["-S"] != in.Address && in.Go:
		return "unable to open tcp connection with host '" + o["-S"] + "': dial tcp: connect: connection refused"
	case o["-S"] != in.Address:
		return "Login timeout expired"
	case o["-N"] == "":
		return "standin: the connection is not encrypted"
	case in.Untrusted && o["-C"] == "" && in.Go:
		return "TLS Handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"
	case in.Untrusted && o["-C"] == "":
		return "SSL Provider: [error:0A000086:SSL routines::certificate verify failed:self-signed certificate]"
	case in.Ticket != "" && o["-E"] != "" && os.Getenv("KRB5CCNAME") == "FILE:"+in.Ticket:
		return ""
	case o["-U"] != in.User || password != in.Password || o["-E"] != "":
		return "Login failed for user '" + o["-U"] + "'"
	}
	return ""
}

// contextPassword is what go-sqlcmd takes from its file of contexts.
func contextPassword() string {
	text, err := os.ReadFile(filepath.Join(os.Getenv("HOME"), ".sqlcmd", "sqlconfig"))
	if err != nil {
		return ""
	}
	var config struct {
		CurrentContext string
		Contexts       []struct {
			Name    string
			Context struct{ Endpoint, User string }
		}
		Users []struct {
			Name  string
			Type  string `json:"authentication-type"`
			Basic struct {
				Username   string
				Encryption string `json:"password-encryption"`
				Password   string
			} `json:"basic-auth"`
		}
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return ""
	}
	for _, c := range config.Contexts {
		for _, u := range config.Users {
			if c.Name == config.CurrentContext && u.Name == c.Context.User && u.Type == "basic" && u.Basic.Encryption == "none" {
				raw, _ := base64.StdEncoding.DecodeString(u.Basic.Password)
				return string(raw)
			}
		}
	}
	return ""
}

// wrong says an error of the server's.
func (s *session) wrong(number, level int, text string) {
	s.failed = true
	fmt.Fprintf(os.Stderr, "Msg %d, Level %d, State 1, Server may-chu, Line 1\n%s\n", number, level, text)
}

// batch runs statements one after another; like the server it goes on after an error
// of one, but not after one of syntax.
func (s *session) batch(text string) {
	for _, statement := range strings.Split(text, ";\n") {
		statement = strings.TrimSuffix(strings.TrimSpace(statement), ";")
		if statement != "" && !s.statement(statement) {
			s.wrong(102, 15, fmt.Sprintf("Incorrect syntax near '%s'.", strings.Fields(statement)[0]))
			return
		}
	}
}

const literal = `(N'(?:[^']|'')*'|CONVERT\(nvarchar\(4000\), 0x[0-9a-f]+\)|@\w+|\[(?:[^\]]|\]\])*\])`

var (
	sqlBackup  = regexp.MustCompile(`^BACKUP DATABASE ` + literal + ` TO DISK = ` + literal + ` WITH (.*)$`)
	sqlVerify  = regexp.MustCompile(`^RESTORE VERIFYONLY FROM DISK = ` + literal + ` WITH CHECKSUM$`)
	sqlRestore = regexp.MustCompile(`^RESTORE DATABASE ` + literal + ` FROM DISK = ` + literal + ` WITH ((?:MOVE N'[^']*' TO N'[^']*', )+)REPLACE, CHECKSUM$`)
	sqlDeclare = regexp.MustCompile(`(@\w+) (?:sysname|nvarchar\(4000\)) = ` + literal)
	sqlCheck   = regexp.MustCompile(`^DBCC CHECKDB \(` + literal + `\) WITH NO_INFOMSGS$`)
	sqlCount   = regexp.MustCompile(`^SELECT COUNT\(\*\) FROM ` + literal + `\.dbo\.van_ban$`)
	sqlDrop    = regexp.MustCompile(`^DROP DATABASE ` + literal + `$`)
)

const sqlShown = " FROM sys.databases WHERE name <> N'tempdb' AND source_database_id IS NULL"

func (s *session) statement(text string) bool {
	switch {
	case text == "SET NOCOUNT ON":
	case text == "SELECT 1":
		fmt.Println(1)
	case text == "SET LANGUAGE us_english":
		fmt.Fprintln(os.Stderr, "Changed language setting to us_english.")
	case strings.HasPrefix(text, "DECLARE "):
		for _, d := range sqlDeclare.FindAllStringSubmatch(text, -1) {
			s.variables[d[1]] = s.value(d[2])
		}
	case text == "SELECT 'database ' + CONVERT(varchar(600), CONVERT(varbinary(256), name), 2) + ' ' + state_desc"+sqlShown+" ORDER BY database_id":
		for name, state := range s.Databases {
			fmt.Printf("database %s %s\n", strings.ToUpper(hex.EncodeToString(utf16Bytes(name))), state)
		}
	case text == "SELECT 'databases ' + CONVERT(varchar(20), COUNT(*))"+sqlShown:
		fmt.Printf("databases %d\n", len(s.Databases))
	case text == "SELECT 'all ' + CONVERT(varchar(20), HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW ANY DATABASE'))":
		fmt.Printf("all %d\n", map[bool]int{false: 1, true: 0}[s.Blind])
	case sqlBackup.MatchString(text):
		m := sqlBackup.FindStringSubmatch(text)
		s.backup(s.value(m[1]), s.value(m[2]), strings.Split(m[3], ", "))
	case sqlVerify.MatchString(text):
		if _, ok := s.read(s.value(sqlVerify.FindStringSubmatch(text)[1]), "VERIFY DATABASE"); ok {
			fmt.Fprintln(os.Stderr, "The backup set on file 1 is valid.")
		}
	case sqlRestore.MatchString(text):
		m := sqlRestore.FindStringSubmatch(text)
		if _, ok := s.read(s.value(m[2]), "RESTORE DATABASE"); ok {
			s.restored[s.value(m[1])] = true
			fmt.Fprintln(os.Stderr, "RESTORE DATABASE successfully processed 298 pages in 0.116 seconds (20.010 MB/sec).")
		}
	case sqlCheck.MatchString(text), sqlCount.MatchString(text), sqlDrop.MatchString(text):
		s.look(text)
	default:
		return false
	}
	return true
}

// look runs a statement on a database that was restored.
func (s *session) look(text string) {
	name := ""
	for _, pattern := range []*regexp.Regexp{sqlCheck, sqlCount, sqlDrop} {
		if m := pattern.FindStringSubmatch(text); m != nil {
			name = s.value(m[1])
		}
	}
	if !s.restored[name] {
		s.wrong(911, 16, fmt.Sprintf("Database '%s' does not exist. Make sure that the name is entered correctly.", name))
		return
	}
	if sqlCount.MatchString(text) {
		fmt.Println(s.Rows)
	}
}

// value is what a literal, a bracketed name or a variable stands for.
func (s *session) value(text string) string {
	switch {
	case strings.HasPrefix(text, "@"):
		return s.variables[text]
	case strings.HasPrefix(text, "["):
		return strings.ReplaceAll(text[1:len(text)-1], "]]", "]")
	case strings.HasPrefix(text, "N'"):
		return strings.ReplaceAll(text[2:len(text)-1], "''", "'")
	}
	raw, _ := hex.DecodeString(strings.TrimSuffix(strings.TrimPrefix(text, "CONVERT(nvarchar(4000), 0x"), ")"))
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	return string(utf16.Decode(units))
}

func utf16Bytes(text string) (raw []byte) {
	for _, unit := range utf16.Encode([]rune(text)) {
		raw = binary.LittleEndian.AppendUint16(raw, unit)
	}
	return raw
}

// here is where a file of the server's lies.
func (s *session) here(file string) string {
	for folder, real := range s.Folders {
		if rest, below := strings.CutPrefix(file, folder); below {
			return filepath.Join(real, strings.Trim(rest, `/\`))
		}
	}
	return file
}

func (s *session) backup(name, file string, with []string) {
	slices.Sort(with)
	end := func() { s.wrong(3013, 16, "BACKUP DATABASE is terminating abnormally.") }
	switch {
	case s.Databases[name] == "":
		s.wrong(911, 16, fmt.Sprintf("Database '%s' does not exist. Make sure that the name is entered correctly.", name))
	case !slices.Equal(with, []string{"CHECKSUM", "COPY_ONLY", "FORMAT", "INIT", "NO_COMPRESSION"}):
		s.wrong(155, 15, fmt.Sprintf("'%s' is not a recognized BACKUP option.", strings.Join(with, ", ")))
		return
	case s.Fault == "denied":
		s.wrong(262, 14, fmt.Sprintf("BACKUP DATABASE permission denied in database '%s'.", name))
	case s.Fault == "full":
		s.wrong(3202, 16, fmt.Sprintf(`Write on "%s" failed: 112(There is not enough space on the disk.)`, file))
	case s.Fault == "damaged":
		s.wrong(3043, 16, fmt.Sprintf("BACKUP '%s' detected an error on page (1:57) in file '%s.mdf'.", name, name))
	default:
		body := append([]byte("TAPE"), utf16Bytes(name)...)
		for i := range s.Rows {
			body = append(body, "row "+strconv.Itoa(i)+"\n"...)
		}
		sum := sha256.Sum256(body)
		body = append(body, sum[:]...)
		if s.Fault == "half" {
			body = body[:len(body)/2]
		}
		if err := os.WriteFile(s.here(file), body, 0o640); err != nil {
			s.wrong(3201, 16, fmt.Sprintf("Cannot open backup device '%s'. Operating system error 5(Access is denied.).", file))
			end()
			return
		}
		fmt.Fprintf(os.Stderr, "Processed 296 pages for database '%[1]s', file '%[1]s' on file 1.\nProcessed 2 pages for database '%[1]s', file '%[1]s_log' on file 1.\n", name)
		fmt.Fprintln(os.Stderr, "BACKUP DATABASE successfully processed 298 pages in 0.116 seconds (20.010 MB/sec).")
		return
	}
	end()
}

// read reads a backup back, as its checksums allow.
func (s *session) read(file, what string) ([]byte, bool) {
	text, err := os.ReadFile(s.here(file))
	switch {
	case err != nil:
		s.wrong(3201, 16, fmt.Sprintf("Cannot open backup device '%s'. Operating system error 2(The system cannot find the file specified.).", file))
	case len(text) < 36 || !bytes.HasPrefix(text, []byte("TAPE")):
		s.wrong(3241, 16, fmt.Sprintf("The media family on device '%s' is incorrectly formed. SQL Server cannot process this media family.", file))
	default:
		body := text[:len(text)-32]
		if sum := sha256.Sum256(body); bytes.Equal(sum[:], text[len(body):]) {
			return body, true
		}
		s.wrong(3189, 16, "Damage to the backup set was detected.")
	}
	s.wrong(3013, 16, what+" is terminating abnormally.")
	return nil, false
}
