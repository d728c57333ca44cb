package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// An oracle is an Oracle database.
type oracle struct {
	Address        string // as Easy Connect has it
	SID            string
	User, Password string
	Schemas        []string
	Directories    map[string]string
	NoArchiveLog   bool
	Fault          string // of expdp: "errors", "half", "running"; of rman: "half"
}

func oracleServer() oracle {
	db := oracle{Address: "//127.0.0.1:1521/QLVB", SID: "QLVB"}
	server("oracle", &db)
	guard(db.Password, true)
	if os.Getenv("ORACLE_HOME") != filepath.Dir(home()) || !strings.HasPrefix(os.Getenv("NLS_LANG"), "AMERICAN_") {
		fmt.Fprintln(os.Stderr, "Message file RDBMS not found\nVerify that the ORACLE_HOME environment variable is set properly.")
		os.Exit(1)
	}
	return db
}

func expdp(args []string) int {
	db := oracleServer()
	p, status := db.parameters("Export", args)
	if status != 0 {
		return status
	}
	return db.export(p)
}

// parameters reads a parameter file and lets its user in.
func (db oracle) parameters(program string, args []string) (map[string]string, int) {
	fmt.Fprintf(os.Stderr, "\n%s: Release 19.0.0.0.0 - Production on Sun Nov 22 01:00:00 2026\nVersion 19.3.0.0.0\n\nCopyright (c) 1982, 2019, Oracle and/or its affiliates.  All rights reserved.\n", program)
	if len(args) != 1 || !strings.HasPrefix(args[0], "PARFILE=") {
		return nil, fails(1, "LRM-00108: invalid positional parameter value '%s'", strings.Join(args, " "))
	}
	text, err := os.ReadFile(strings.TrimPrefix(args[0], "PARFILE="))
	if err != nil {
		return nil, fails(1, "LRM-00109: could not open parameter file '%s'", args[0])
	}
	p := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, wrong := parameter(strings.TrimSpace(line))
		if wrong != "" {
			return nil, fails(1, "%s", wrong)
		}
		p[key] = value
	}
	if p["USERID"] == fmt.Sprintf(`%s/"%s"@%s`, db.User, db.Password, db.Address) {
		fmt.Fprint(os.Stderr, "\nConnected to: Oracle Database 19c Standard Edition 2 Release 19.0.0.0.0 - Production\n")
		return p, 0
	}
	if !strings.HasSuffix(p["USERID"], "@"+db.Address) {
		return nil, fails(1, "\nUDE-12541: operation generated ORACLE error 12541\nORA-12541: TNS:no listener")
	}
	return nil, fails(1, "\nUDE-01017: operation generated ORACLE error 1017\nORA-01017: invalid username/password; logon denied")
}

// impdp reads a dump into schemas that are not there yet.
func impdp(args []string) int {
	db := oracleServer()
	p, status := db.parameters("Import", args)
	if status != 0 {
		return status
	}
	from, to, _ := strings.Cut(p["REMAP_SCHEMA"], ":")
	dump := filepath.Join(db.Directories[p["DIRECTORY"]], p["DUMPFILE"])
	text, err := os.ReadFile(dump)
	switch {
	case err != nil:
		return fails(1, "ORA-39001: invalid argument value\nORA-39000: bad dump file specification\nORA-31640: unable to open dump file \"%s\" for read\nORA-27037: unable to obtain file status", dump)
	case !strings.HasPrefix(string(text), "CREATE USER"):
		return fails(1, "ORA-39001: invalid argument value\nORA-39000: bad dump file specification\nORA-39143: dump file \"%s\" may be an original export dump file", dump)
	case !strings.Contains(string(text), fmt.Sprintf("CREATE USER %q;", from)):
		return fails(5, "ORA-39165: Schema %s was not found.\nJob \"X\".\"SYS_IMPORT_SCHEMA_01\" completed with 1 error(s) at Sun Nov 22 03:00:09 2026 elapsed 0 00:00:08", from)
	}
	rows := strings.Count(string(text), "INSERT\n")
	if err := os.WriteFile(filepath.Join(home(), "servers", to+".rows"), fmt.Append(nil, rows), 0o644); err != nil {
		return fails(98, "standin: %v", err)
	}
	fmt.Fprintf(os.Stderr, ". . imported \"%s\".\"VAN_BAN\"    40.53 KB     %d rows\n", to, rows)
	return fails(0, "Job \"X\".\"SYS_IMPORT_SCHEMA_01\" successfully completed at Sun Nov 22 03:00:09 2026 elapsed 0 00:00:08")
}

// sqlplus runs the few statements that a restore test needs.
func sqlplus(args []string) int {
	db := oracleServer()
	if len(args) != 4 || !slices.Equal(args[:3], []string{"-S", "-L", "/nolog"}) || !strings.HasPrefix(args[3], "@") {
		return fails(1, "SP2-0306: Invalid option.")
	}
	text, err := os.ReadFile(args[3][1:])
	if err != nil {
		return fails(1, "SP2-0310: unable to open file %q", args[3][1:])
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(strings.TrimRight(line, ";\n"))
		switch {
		case len(words) == 0, words[0] == "SET", words[0] == "WHENEVER", words[0] == "EXIT":
		case words[0] == "CONNECT":
			if strings.TrimSpace(line) != fmt.Sprintf(`CONNECT %s/"%s"@%s`, db.User, db.Password, db.Address) {
				return fails(1, "ERROR:\nORA-01017: invalid username/password; logon denied\nSP2-0751: Unable to connect to Oracle.  Exiting SQL*Plus")
			}
		case words[0] == "DROP":
			_ = os.Remove(filepath.Join(home(), "servers", words[2]+".rows"))
		case words[0] == "SELECT":
			rows, err := os.ReadFile(filepath.Join(home(), "servers", strings.TrimSuffix(words[3], ".VAN_BAN")+".rows"))
			if err != nil {
				fmt.Println("ORA-00942: table or view does not exist")
				return 174 // 942 as eight bits hold it
			}
			fmt.Printf("%s\n", rows)
		default:
			return fails(1, "SP2-0734: unknown command beginning %q", line)
		}
	}
	return 0
}

// parameter reads a line of a parameter file: a "#" that is not in quotes begins a
// comment.
func parameter(line string) (key, value, wrong string) {
	key, value, found := strings.Cut(line, "=")
	known := []string{"USERID", "JOB_NAME", "DIRECTORY", "DUMPFILE", "REUSE_DUMPFILES", "NOLOGFILE", "COMPRESSION", "FLASHBACK_TIME", "FULL", "SCHEMAS", "REMAP_SCHEMA"}
	if !found || !slices.Contains(known, key) {
		return "", "", fmt.Sprintf("LRM-00101: unknown parameter name '%s'", key)
	}
	if strings.HasPrefix(value, "'") {
		inner, rest, closed := strings.Cut(value[1:], "'")
		if !closed || rest != "" {
			return "", "", "LRM-00112: multiple values not allowed for parameter '" + strings.ToLower(key) + "'"
		}
		return key, inner, ""
	}
	value, _, _ = strings.Cut(value, "#")
	return key, strings.TrimSpace(value), ""
}

func (db oracle) export(p map[string]string) int {
	job := fmt.Sprintf(`"%s"."%s"`, strings.ToUpper(db.User), p["JOB_NAME"])
	folder, known := db.Directories[p["DIRECTORY"]]
	switch {
	case db.Fault == "running":
		return fails(1, "ORA-31626: job does not exist\nORA-31633: unable to create master table %s\nORA-31634: job already exists", job)
	case !known:
		return fails(1, "ORA-39002: invalid operation\nORA-39070: Unable to open the log file.\nORA-39087: directory name %s is invalid", p["DIRECTORY"])
	case p["FULL"] == "YES":
		p["SCHEMAS"] = strings.Join(db.Schemas, ",")
	}
	dump := filepath.Join(folder, p["DUMPFILE"])
	if _, err := os.Stat(dump); err == nil && p["REUSE_DUMPFILES"] != "YES" {
		return fails(1, "ORA-39001: invalid argument value\nORA-39000: bad dump file specification\nORA-31641: unable to create dump file \"%s\"\nORA-27038: created file already exists", dump)
	}
	fmt.Fprintf(os.Stderr, "Starting %s:  %s/******** parfile=export.par \n", job, db.User)
	var out bytes.Buffer
	lacking := 0
	for _, schema := range strings.Split(p["SCHEMAS"], ",") {
		if !slices.Contains(db.Schemas, schema) {
			fmt.Fprintf(os.Stderr, "ORA-39165: Schema %s was not found.\n", schema)
			lacking++
			continue
		}
		fmt.Fprintf(&out, "CREATE USER %q;\n%s", schema, strings.Repeat("INSERT\n", 400))
		fmt.Fprintf(os.Stderr, ". . exported \"%s\".\"VAN_BAN\"                        40.53 KB     400 rows\n", schema)
	}
	if out.Len() == 0 {
		return fails(1, "ORA-39168: Object path SCHEMA_EXPORT was not found.\nORA-31655: no data or metadata objects selected for job\nJob %s completed with %d error(s) at Sun Nov 22 01:00:09 2026 elapsed 0 00:00:08", job, lacking+1)
	}
	if db.Fault == "errors" {
		fmt.Fprintln(os.Stderr, "ORA-31693: Table data object \"HR\".\"VAN_BAN\" failed to load/unload and is being skipped due to error:\nORA-02354: error in exporting/importing data\nORA-01555: snapshot too old: rollback segment number 5 with name \"_SYSSMU5$\" too small")
		lacking++
	}
	if db.Fault == "half" {
		_ = os.WriteFile(dump, out.Bytes()[:out.Len()/2], 0o640)
		return fails(1, "ORA-39095: Dump file space has been exhausted: Unable to allocate 8192 bytes\nORA-19502: write error on file \"%s\", block number 57\nORA-27072: File I/O error\nLinux-x86_64 Error: 28: No space left on device\nJob %s stopped due to fatal error at Sun Nov 22 01:00:09 2026 elapsed 0 00:00:08", dump, job)
	}
	if err := os.WriteFile(dump, out.Bytes(), 0o640); err != nil {
		return fails(1, "ORA-39001: invalid argument value\nORA-39000: bad dump file specification\nORA-31641: unable to create dump file \"%s\"\nORA-27040: file create error, unable to create file", dump)
	}
	fmt.Fprintf(os.Stderr, "Master table %s successfully loaded/unloaded\n******************************************************************************\nDump file set for %s is:\n  %s\n", job, strings.ReplaceAll(job, `"`, ""), dump)
	if lacking > 0 {
		return fails(5, "Job %s completed with %d error(s) at Sun Nov 22 01:00:09 2026 elapsed 0 00:00:08", job, lacking)
	}
	return fails(0, "Job %s successfully completed at Sun Nov 22 01:00:09 2026 elapsed 0 00:00:08", job)
}

// pieces are the backups that rman knows of, and when they were complete.
type pieces map[string]time.Time

func (db oracle) register() (string, pieces) {
	file := filepath.Join(home(), "servers", "rman-pieces.json")
	known := pieces{}
	if text, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(text, &known)
	}
	return file, known
}

var (
	rmanChannel = regexp.MustCompile(`^ALLOCATE CHANNEL saoluu DEVICE TYPE DISK FORMAT '([^']+)/saoluu-%U'$`)
	rmanBackup  = regexp.MustCompile(`^BACKUP AS BACKUPSET (DATABASE TAG 'SAOLUU' PLUS ARCHIVELOG|CURRENT CONTROLFILE|SPFILE) TAG 'SAOLUU'$`)
	rmanDelete  = regexp.MustCompile(`^DELETE NOPROMPT BACKUP TAG 'SAOLUU' COMPLETED BEFORE 'SYSDATE-(\d+)/86400'$`)
)

func rman(args []string) int {
	db := oracleServer()
	fmt.Print("\nRecovery Manager: Release 19.0.0.0.0 - Production on Sun Nov 22 01:00:00 2026\nVersion 19.3.0.0.0\n\n")
	if len(args) != 4 || !slices.Equal(args[:3], []string{"TARGET", "/", "NOCATALOG"}) || !strings.HasPrefix(args[3], "CMDFILE=") {
		fmt.Printf("Argument     Value          Description\n")
		return 1
	}
	if os.Getenv("ORACLE_SID") != db.SID {
		return stack("RMAN-00554: initialization of internal recovery manager package failed\nRMAN-04005: error from target database: \nORA-01034: ORACLE not available")
	}
	text, err := os.ReadFile(strings.TrimPrefix(args[3], "CMDFILE="))
	if err != nil {
		return stack("RMAN-00552: syntax error in command line arguments")
	}
	fmt.Printf("connected to target database: %s (DBID=2905785430)\nusing target database control file instead of recovery catalog\n", db.SID)
	folder := ""
	for _, command := range strings.Split(string(text), ";") {
		command = strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(command), "RUN {"), "}"))
		status := 0
		switch {
		case command == "", command == "EXIT", command == "RELEASE CHANNEL saoluu", command == "CROSSCHECK BACKUP TAG 'SAOLUU'":
		case rmanChannel.MatchString(command):
			folder = rmanChannel.FindStringSubmatch(command)[1]
			fmt.Println("allocated channel: saoluu")
		case rmanBackup.MatchString(command):
			status = db.piece(folder, rmanBackup.FindStringSubmatch(command)[1])
		case rmanDelete.MatchString(command):
			db.forget(rmanDelete.FindStringSubmatch(command)[1])
		default:
			status = stack("RMAN-00558: error encountered while parsing input commands\nRMAN-01009: syntax error: found \"identifier\": expecting one of: \"advise, allocate\"\nRMAN-01008: the bad identifier was: " + command)
		}
		if status != 0 {
			return status
		}
	}
	fmt.Print("\n\nRecovery Manager complete.\n")
	return 0
}

func stack(text string) int {
	rule := "RMAN-00571: ==========================================================="
	fmt.Printf("%s\nRMAN-00569: =============== ERROR MESSAGE STACK FOLLOWS ===============\n%s\n%s\n\n\nRecovery Manager complete.\n", rule, rule, text)
	return 1
}

// piece writes one backup set.
func (db oracle) piece(folder, what string) int {
	if db.NoArchiveLog && strings.HasPrefix(what, "DATABASE") {
		return stack("RMAN-03002: failure of backup command at 11/22/2026 01:00:03\nRMAN-06149: cannot BACKUP DATABASE in NOARCHIVELOG mode")
	}
	file, known := db.register()
	name := filepath.Join(folder, fmt.Sprintf("saoluu-%02x%d_1_1", len(known)+1, time.Now().UnixNano()))
	if db.Fault == "half" {
		_ = os.WriteFile(name, []byte("half"), 0o640)
		return stack("RMAN-03009: failure of backup command on saoluu channel at 11/22/2026 01:00:03\nORA-19502: write error on file \"" + name + "\", block number 57\nORA-27072: File I/O error")
	}
	if err := os.WriteFile(name, []byte(what+"\n"+strings.Repeat("block\n", 500)), 0o640); err != nil {
		return stack("RMAN-03009: failure of backup command on saoluu channel at 11/22/2026 01:00:03\nORA-19504: failed to create file \"" + name + "\"\nORA-27040: file create error, unable to create file")
	}
	known[name] = time.Now()
	text, err := json.Marshal(known)
	if err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		return fails(98, "standin: %v", err)
	}
	fmt.Printf("\nStarting backup at 22-NOV-26\npiece handle=%s tag=SAOLUU comment=NONE\nFinished backup at 22-NOV-26\n", name)
	return 0
}

// forget deletes what was complete so many seconds ago.
func (db oracle) forget(seconds string) {
	file, known := db.register()
	age, _ := time.ParseDuration(seconds + "s")
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if time.Since(known[name]) > age {
			_ = os.Remove(name)
			delete(known, name)
			fmt.Printf("deleted backup piece\nbackup piece handle=%s\n", name)
		}
	}
	if text, err := json.Marshal(known); err == nil {
		_ = os.WriteFile(file, text, 0o644)
	}
}
