package sources

import (
	"cmp"
	"context"
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

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// Methods of an Oracle source.
const (
	MethodDataPump = "datapump" // a logical export by expdp
	MethodRMAN     = "rman"     // the data files and archived logs by rman
)

// Oracle is a source of one Oracle database. The server itself writes the files into
// a folder that we see too; what lies there is then saved.
//
// It was never tried against a real server: what expdp and rman take and say is taken
// from the manuals ("Database Utilities", "Backup and Recovery Reference", 19c).
type Oracle struct {
	// Method is MethodDataPump, which is meant by nothing too, or MethodRMAN.
	Method string
	// Host is a name or an address; empty means 127.0.0.1. Not with MethodRMAN, which
	// runs on the server itself.
	Host string
	// Port is that of the listener; 1521 when 0.
	Port int
	// Database is the name of the service or, with MethodRMAN, of the instance.
	Database string
	// User has the role DATAPUMP_EXP_FULL_DATABASE and may write to Directory. With
	// MethodRMAN there is none: our own user of the system is in the group of the
	// database's administrators.
	User, Password string
	// Schemas are saved, or with All the whole database.
	Schemas []string
	All     bool
	// Directory is the directory object by which the server knows Folder; not with
	// MethodRMAN.
	Directory string
	// Folder is where the server leaves the files.
	Folder string
	// Name tells the files of this source from others in Folder.
	Name string
	// Bin is the folder of the programs, bin below Oracle's home. Empty means along PATH.
	Bin string
	// FactsMode is that of Files, for the files the server left.
	FactsMode string
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source   = (*Oracle)(nil)
	_ Locator  = (*Oracle)(nil)
	_ Examiner = (*Oracle)(nil)
)

// oracleHint says where the programs come from.
const oracleHint = "install Oracle Database or its client tools, and name the bin below its home in bin"

// Prepare has the server write the files. The errors are fault.Absent for a server
// that is not there, fault.Denied for a wrong password or a right that is missing,
// and fault.MissingTool for want of expdp or rman.
func (o *Oracle) Prepare(ctx context.Context, scratch string) (Payload, error) {
	if ctx.Err() != nil {
		return Payload{}, context.Cause(ctx)
	}
	if err := o.check(); err != nil {
		return Payload{}, err
	}
	if _, err := os.Stat(scratch); err != nil {
		return Payload{}, scratchError(scratch, err)
	}
	program, err := o.program()
	if err != nil {
		return Payload{}, err
	}
	left, err := expect(o.op("back up"), o.Folder, o.FactsMode, o.Now)
	if err != nil {
		return Payload{}, err
	}
	// What the program is told is gone as soon as it has ended.
	dir, err := os.MkdirTemp(scratch, "oracle-")
	if err != nil {
		return Payload{}, scratchError(scratch, err)
	}
	var paths []string
	if o.rman() {
		paths, err = o.pieces(ctx, program, dir, left)
	} else {
		paths, err = o.export(ctx, program, dir)
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return Payload{}, err
	}
	return left.payload(ctx, scratch, paths)
}

// Examine looks for the program and for the folder.
func (o *Oracle) Examine(context.Context) error {
	if err := o.check(); err != nil {
		return err
	}
	if _, err := marks(o.Folder); err != nil {
		return err
	}
	_, err := o.program()
	return err
}

// Locations returns the folder of the files.
func (o *Oracle) Locations(context.Context) ([]string, error) { return []string{o.Folder}, nil }

// oracleName is what needs no quotes (Oracle manual, "Database Object Names and
// Qualifiers"); oraclePart is that without the sign which begins a comment in a
// parameter file.
var (
	oracleName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_$#]{0,127}$`)
	oraclePart = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_$]{0,127}$`)
	oracleHost = regexp.MustCompile(`^[A-Za-z0-9._:-]+$`)
	oracleAt   = regexp.MustCompile(`^[A-Za-z0-9._$-]+$`)
)

func (o *Oracle) check() error {
	refuse := func(text, hint string) error {
		return fault.New(fault.Usage, "oracle", errors.New(text), hint)
	}
	switch {
	case o.Method != "" && o.Method != MethodDataPump && !o.rman():
		return refuse(fmt.Sprintf("unknown method %q", o.Method), "use datapump or rman")
	case !oracleAt.MatchString(o.Database):
		return refuse(fmt.Sprintf("database %q is no name of a service or an instance", o.Database), "set database")
	case !filepath.IsAbs(o.Folder) || strings.ContainsAny(o.Folder, "'\"\n%"):
		return refuse(fmt.Sprintf("folder %q cannot be used", o.Folder), "name a folder that server and saoluu see, without quotes and %")
	case o.rman() && (o.User != "" || o.Password != "" || len(o.Schemas) > 0 || o.Directory != "" || o.Host != ""):
		return refuse("rman runs on the server and saves the whole database", "take host, user, password, schemas and directory out")
	case o.rman():
		return nil
	case o.All == (len(o.Schemas) > 0):
		return refuse("it is not clear what is saved", "set schemas, or all")
	case !oracleName.MatchString(o.User) || o.Password == "":
		return refuse("it is not clear who connects", "set user and password")
	case strings.ContainsAny(o.Password, "'\"\\\n\r\x00"):
		return refuse("the password has a quote, a backslash or a line break, which a parameter file cannot hold", "choose a password without them")
	case !oraclePart.MatchString(o.Directory):
		return refuse(fmt.Sprintf("directory %q is no name of a directory object", o.Directory), "set directory to the object that names folder: CREATE DIRECTORY")
	case !oracleHost.MatchString(o.host()):
		return refuse(fmt.Sprintf("host %q cannot be used", o.Host), "write a host name or an address")
	}
	for _, schema := range o.Schemas {
		if !oraclePart.MatchString(schema) {
			return refuse(fmt.Sprintf("schema %q cannot be named to expdp", schema), "use all instead")
		}
	}
	return nil
}

func (o *Oracle) rman() bool { return o.Method == MethodRMAN }

func (o *Oracle) host() string { return cmp.Or(o.Host, "127.0.0.1") }

func (o *Oracle) op(what string) string {
	return fmt.Sprintf("%s: Oracle database %q", what, o.Database)
}

func (o *Oracle) program() (string, error) {
	name := "expdp"
	if o.rman() {
		name = "rman"
	}
	return vendorProgram(o.Bin, name, oracleHint)
}

// command spells a program out. Its home is where it lies; what it says is English.
func (o *Oracle) command(program, dir string, args ...string) command.Cmd {
	bin := filepath.Dir(program)
	if real, err := filepath.EvalSymlinks(program); err == nil {
		bin = filepath.Dir(real)
	}
	home := filepath.Dir(bin)
	env := []string{
		"PATH=" + bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + dir, "NLS_LANG=AMERICAN_AMERICA.AL32UTF8",
		"ORACLE_HOME=" + home, "LD_LIBRARY_PATH=" + filepath.Join(home, "lib"),
	}
	if o.rman() {
		env = append(env, "ORACLE_SID="+o.Database)
	}
	return command.Cmd{Argv: append([]string{program}, args...), Env: env, Dir: dir, Secrets: []string{o.Password}}
}

// export has the server write one file, as of the instant at which the export began.
// The job has a name of its own, so that no second one can write into the same file
// while the first still runs in the server. Compression would undo deduplication.
func (o *Oracle) export(ctx context.Context, program, dir string) ([]string, error) {
	name := "saoluu-" + plainFile(o.Name) + ".dmp"
	what := "FULL=YES"
	if !o.All {
		what = "SCHEMAS=" + strings.Join(o.Schemas, ",")
	}
	job := strings.ToUpper(strings.ReplaceAll("saoluu_"+plainFile(o.Name), "-", "_"))
	lines := []string{
		fmt.Sprintf(`USERID='%s/"%s"@//%s/%s'`, o.User, o.Password, net.JoinHostPort(o.host(), strconv.Itoa(cmp.Or(o.Port, 1521))), o.Database),
		"JOB_NAME=" + job[:min(len(job), 30)], "DIRECTORY=" + o.Directory, "DUMPFILE=" + name, "REUSE_DUMPFILES=YES", "NOLOGFILE=YES",
		"COMPRESSION=NONE", "FLASHBACK_TIME=SYSTIMESTAMP", what,
	}
	if err := secretFile(filepath.Join(dir, "export.par"), strings.Join(lines, "\n")+"\n"); err != nil {
		return nil, err
	}
	said, err := hear(ctx, o.command(program, dir, "PARFILE=export.par"))
	// Status 5 is an export with errors, that is, one that lacks something.
	if err != nil || !oracleExported.MatchString(said) {
		return nil, diagnose(o.op("export"), said, err, oracleTroubles)
	}
	return []string{filepath.Join(o.Folder, name)}, nil
}

// oracleExported is the last thing that expdp says of an export without errors.
var oracleExported = regexp.MustCompile(`(?m)^Job "[^"]+"\."[^"]+" successfully completed at `)

// rmanTag marks the backups that are ours in the server's own register.
const rmanTag = "SAOLUU"

// pieces has rman write a backup of the whole database, with the archived logs that
// make it consistent, its control file and its parameters; then what is left of the
// run before is removed, from the folder and from the server's register.
func (o *Oracle) pieces(ctx context.Context, program, dir string, left leaving) ([]string, error) {
	script := fmt.Sprintf(`RUN {
ALLOCATE CHANNEL saoluu DEVICE TYPE DISK FORMAT '%s/saoluu-%%U';
BACKUP AS BACKUPSET DATABASE TAG '%[2]s' PLUS ARCHIVELOG TAG '%[2]s';
BACKUP AS BACKUPSET CURRENT CONTROLFILE TAG '%[2]s';
BACKUP AS BACKUPSET SPFILE TAG '%[2]s';
RELEASE CHANNEL saoluu;
}
EXIT;
`, o.Folder, rmanTag)
	said, err := o.recovery(ctx, program, dir, script)
	if err != nil || strings.Count(said, "Finished backup at ") < 3 {
		return nil, diagnose(o.op("back up"), said, err, oracleTroubles)
	}
	paths, err := left.fresh()
	if err != nil {
		return nil, err
	}
	paths = slices.DeleteFunc(paths, func(path string) bool { return !strings.HasPrefix(filepath.Base(path), "saoluu-") })
	if len(paths) == 0 {
		return nil, fault.New(fault.Failed, o.op("back up"), fmt.Errorf("rman left nothing new in %q", o.Folder), "see whether this is the server's folder")
	}
	slices.Sort(paths)
	// What was complete before this run began is older than all of it. A minute is
	// more than the server's clock loses meanwhile.
	older := int(o.Now().Sub(left.began).Seconds()) + 60
	said, err = o.recovery(ctx, program, dir, fmt.Sprintf("CROSSCHECK BACKUP TAG '%[1]s';\nDELETE NOPROMPT BACKUP TAG '%[1]s' COMPLETED BEFORE 'SYSDATE-%[2]d/86400';\nEXIT;\n", rmanTag, older))
	if err != nil {
		return nil, diagnose(o.op("remove the backup before"), said, err, oracleTroubles)
	}
	return paths, nil
}

// recovery runs a script of rman's as an administrator of the database.
func (o *Oracle) recovery(ctx context.Context, program, dir, script string) (string, error) {
	if err := secretFile(filepath.Join(dir, "backup.rman"), script); err != nil {
		return "", err
	}
	return hear(ctx, o.command(program, dir, "TARGET", "/", "NOCATALOG", "CMDFILE=backup.rman"))
}

// oracleTroubles are error codes of the server and its programs ("Database Error
// Messages").
var oracleTroubles = []trouble{
	{regexp.MustCompile(`ORA-(01017|28000|28001|01045)\b`), fault.Denied, "correct user and password, and see whether the account is locked or expired"},
	{regexp.MustCompile(`ORA-(01031|01950|31631|39149|39109|39161|01994)\b`), fault.Denied, "grant the user DATAPUMP_EXP_FULL_DATABASE or, for rman, put the user that runs saoluu into the group of the database's administrators"},
	{regexp.MustCompile(`ORA-(39087|39070|29283|31641|39001.*directory)`), fault.Denied, "CREATE DIRECTORY for folder, GRANT READ, WRITE on it to the user, and let the server's own user write there"},
	{regexp.MustCompile(`ORA-31634\b`), fault.Locked, "an export of this job still runs in the server, or one died: attach to it with expdp ATTACH=… and KILL_JOB"},
	{regexp.MustCompile(`ORA-(19504|27040|27044|27072|19502)\b|No space left on device`), fault.NoSpace, "free some space in folder, and let the server's own user write there"},
	{regexp.MustCompile(`ORA-(12541|12514|12545|12170|12154|12505|12543|12547|01034|27101|12537)\b`), fault.Absent, "start the server and its listener, or correct host, port and database"},
	{regexp.MustCompile(`ORA-19602\b|RMAN-06149\b`), fault.Failed, "put the database into ARCHIVELOG mode, or use the method datapump"},
	{regexp.MustCompile(`ORA-(01555|01466)\b`), fault.Failed, "choose a quieter time, or keep more undo (UNDO_RETENTION)"},
	{regexp.MustCompile(`completed with \d+ error|stopped due to fatal error`), fault.Failed, "see in the server what could not be exported: an export with errors lacks something"},
	{regexp.MustCompile(`^(ORA|RMAN|UDE|LRM)-\d{5}`), fault.Failed, "look the code up, and run the program by hand"},
}
