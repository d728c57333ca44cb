// Package config reads TOML and gives out checked values.
//
// One file, /etc/saoluu/saoluu.toml unless told otherwise, and the conf.d/*.toml
// beside it are one configuration. Loading goes in four steps: read, decode over
// the defaults, refuse what is unknown or of a wrong type, check what belongs
// together. All problems of all files are reported at once, each with its place
// and a hint.
//
// The types below are the manual: docs/reference/config.md and the JSON Schema
// are made from their comments and tags. The tags say what needs no code:
//
//	toml     the key
//	need     the key must be there
//	default  the value when the key is not there
//	enum     the only values, separated by |
//	range    the least and the greatest whole number
//	of       the only values of "type" beside which the key may stand
//	scalar   takes a string, a number or a boolean, kept as text
package config

import (
	"time"

	"saoluu/internal/calendar"
)

// A Config is the whole checked configuration of one site. Every reference in
// it resolves, every value is in range; nobody checks it again.
type Config struct {
	// The agency and its place in the network.
	Site Site `toml:"site" need:"true"`

	// Where saoluu keeps its own files. Optional.
	Paths Paths `toml:"paths,omitempty"`

	// Which restic to run and when to give up on it. Optional.
	Engine Engine `toml:"engine,omitempty"`

	// Retention classes by name. Every job names one.
	Classes map[string]Class `toml:"classes,omitempty"`

	// The people who can open sealed repository keys, by name. Name at least
	// two, so that the loss of one key does not lose the data. Optional.
	Custodians map[string]Custodian `toml:"custodians,omitempty"`

	// Places that hold one restic repository each, by name.
	Targets map[string]Target `toml:"targets,omitempty"`

	// The things to protect, by name. The name stands in tags and evidence:
	// renaming a job starts a new history.
	Jobs map[string]Job `toml:"jobs,omitempty"`
}

// Site is the agency whose duties are judged, and the machine's place in the
// network.
type Site struct {
	// The agency's full name, as the head of the reports.
	// Example: name = "Sở Tư pháp tỉnh Hải Dương"
	Name string `toml:"name" need:"true"`

	// Short code in subjects, tags and file names: letters, digits, - and _.
	// Example: code = "STP-HD"
	Code string `toml:"code" need:"true"`

	// Security level of the information system, as approved for the agency.
	// Example: level = 3
	Level int `toml:"level" need:"true" range:"1-5"`

	// What the machine is connected to: nothing, an isolated LAN, a LAN, the
	// state's specialised data network (TSLCD), or the internet. Jobs with
	// state secrets are refused where the rules forbid them.
	// Example: zone = "tslcd"
	Zone string `toml:"zone" need:"true" enum:"standalone|lan_doc_lap|lan|tslcd|internet"`

	// IANA time zone in which days, months and schedules are judged.
	// Example: timezone = "Asia/Ho_Chi_Minh"
	Timezone string `toml:"timezone,omitempty" default:"Asia/Ho_Chi_Minh"`

	// Language of reports, pages and mail. Commands and logs are English.
	// Example: language = "vi"
	Language string `toml:"language,omitempty" default:"vi" enum:"vi|en"`

	// The documents the agency is judged by. "policy" are saoluu's own
	// defaults and always labelled so.
	// Example: packs = ["HD39", "policy"]
	Packs []string `toml:"packs" default:"HD39,policy"`

	// Location is the loaded Timezone.
	Location *time.Location `toml:"-"`
}

// Paths says where saoluu keeps its own files. All are absolute. It may be left
// out.
type Paths struct {
	// Folder of the catalog, the ledger and the keys. Losing it loses history
	// that only evidence kept elsewhere can prove.
	// Example: state = "/var/lib/saoluu"
	State string `toml:"state,omitempty" default:"/var/lib/saoluu"`

	// Folder for dumps and restore tests; needs room for the largest restore.
	// The default is the folder "scratch" in state.
	// Example: scratch = "/srv/saoluu/scratch"
	Scratch string `toml:"scratch,omitempty"`

	// File with the age or SSH private key that opens "age:" secrets; readable
	// by its owner only. Needed only when such a secret is used.
	// Example: identity = "/etc/saoluu/identity.txt"
	Identity string `toml:"identity,omitempty"`
}

// Engine says which restic to run and when to give up on it. It may be left out.
type Engine struct {
	// Absolute path of restic, 0.18.0 or newer. When empty: $SAOLUU_RESTIC,
	// then beside the saoluu program, /usr/lib/saoluu, and PATH.
	// Example: restic = "/usr/lib/saoluu/restic"
	Restic string `toml:"restic,omitempty"`

	// A dump or restic without any progress for so long is ended.
	// Example: stall_timeout = "30m"
	StallTimeout calendar.Duration `toml:"stall_timeout,omitempty" default:"30m"`

	// A run that takes longer in total is ended; at least stall_timeout.
	// Example: total_timeout = "24h"
	TotalTimeout calendar.Duration `toml:"total_timeout,omitempty" default:"24h"`
}

// Class is a retention class: how long backups are kept, how many, and in how
// many places.
type Class struct {
	// What the class holds, for the list of backups by class. The default is
	// the class's name.
	// Example: title = "Dữ liệu nghiệp vụ"
	Title string `toml:"title,omitempty"`

	// Which backups to keep. Without it none is removed.
	Keep Keep `toml:"keep,omitempty"`

	// No backup is removed before it is this old, whatever keep says.
	// Example: keep_min = "1y"
	KeepMin calendar.Period `toml:"keep_min,omitempty"`

	// A backup should be gone when it is this old; not less than keep_min.
	// Example: keep_max = "5y"
	KeepMax calendar.Period `toml:"keep_max,omitempty"`

	// On how many targets every backup must lie. A job of the class names at
	// least so many.
	// Example: copies = 2
	Copies int `toml:"copies,omitempty" default:"1" range:"1-16"`
}

// Keep says which backups to keep, counting good ones: so many of the newest,
// and the newest of so many hours, days, weeks, months and years that have one.
// What is not said is 0; a class without this table keeps all.
type Keep struct {
	// The newest backups, whenever they were made.
	// Example: last = 3
	Last int `toml:"last,omitempty" range:"0-10000"`

	// The newest backup of each of so many hours.
	// Example: hourly = 24
	Hourly int `toml:"hourly,omitempty" range:"0-10000"`

	// The newest backup of each of so many days.
	// Example: daily = 14
	Daily int `toml:"daily,omitempty" range:"0-10000"`

	// The newest backup of each of so many weeks, which begin on Monday.
	// Example: weekly = 8
	Weekly int `toml:"weekly,omitempty" range:"0-10000"`

	// The newest backup of each of so many calendar months.
	// Example: monthly = 13
	Monthly int `toml:"monthly,omitempty" range:"0-10000"`

	// The newest backup of each of so many calendar years.
	// Example: yearly = 5
	Yearly int `toml:"yearly,omitempty" range:"0-10000"`
}

// Custodian is a person who can open sealed repository keys. Name at least two,
// so that the loss of one key does not lose the data.
type Custodian struct {
	// The person's office, as it should stand in the list of keys.
	// Example: title = "Trưởng phòng"
	Title string `toml:"title" need:"true"`

	// The public half of the person's key: an age recipient (age1…), or an SSH
	// public key (ssh-ed25519 or ssh-rsa).
	// Example: recipient = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI…"
	Recipient string `toml:"recipient" need:"true"`
}

// Target is a place that holds one restic repository.
type Target struct {
	// The kind of storage: local is a folder of a mounted file system.
	// Example: type = "local"
	Type string `toml:"type" need:"true" enum:"local"`

	// Absolute path of the repository's folder. No two targets may share a
	// folder or lie inside each other.
	// Example: path = "/mnt/nas/saoluu"
	Path string `toml:"path,omitempty" need:"true" of:"local"`

	// The repository's password, as a reference. Without it "saoluu init"
	// makes one, keeps it under state and seals it to the custodians.
	// Example: password = "file:/etc/saoluu/keys/nas"
	Password Secret `toml:"password,omitempty"`

	// How many backups may run into the repository at once.
	// Example: parallel = 4
	Parallel int `toml:"parallel,omitempty" default:"4" range:"1-64"`

	// Where the medium stands, if not at the agency; counts as another site.
	// Example: site = "Trung tâm dữ liệu tỉnh"
	Site string `toml:"site,omitempty"`

	// Whether the target counts as an external storage device.
	// Example: external = true
	External bool `toml:"external,omitempty" default:"false"`

	// Free space that a run must leave on the file system.
	// Example: reserve = "1GiB"
	Reserve calendar.Bytes `toml:"reserve" of:"local" default:"1GiB"`
}

// Job is one thing to protect, and a row of the inventory.
type Job struct {
	// Name is the key under [jobs].
	Name string `toml:"-"`

	// What it is, for people. The default is the job's name.
	// Example: title = "CSDL quản lý văn bản"
	Title string `toml:"title,omitempty"`

	// The information system it belongs to.
	// Example: system = "Quản lý văn bản và điều hành"
	System string `toml:"system,omitempty"`

	// What kind of data it is.
	// Example: category = "database"
	Category string `toml:"category" need:"true" enum:"config|os-image|database|business-data|logs|software"`

	// How much it matters: high (rất quan trọng), normal (quan trọng) or low
	// (thường). The clauses' "important data" are high and normal.
	// Example: importance = "high"
	Importance string `toml:"importance" need:"true" enum:"high|normal|low"`

	// The state secrecy level of the data. It must be said, so that nobody
	// forgets to think of it.
	// Example: secrecy = "none"
	Secrecy string `toml:"secrecy" need:"true" enum:"none|mat|toi_mat|tuyet_mat"`

	// The agency's own handling label.
	// Example: label = "noi-bo"
	Label string `toml:"label,omitempty"`

	// The unit or person who answers for the data.
	// Example: owner = "Văn phòng Sở"
	Owner string `toml:"owner,omitempty"`

	// The day the data came into service; duties begin no earlier.
	// Example: in_service = "2024-09-25"
	InService string `toml:"in_service,omitempty"`

	// The retention class, by name.
	// Example: class = "nghiep-vu"
	Class string `toml:"class" need:"true"`

	// When to back up, by the clock of the site: "hourly at :15", "every 15m",
	// "daily at 01:00", "weekly on mon,thu at 02:00", "monthly on 31 at 02:00"
	// (the last day of shorter months), "quarterly on 1 at 03:00",
	// "half-yearly on 1 at 03:00", "yearly on 12-31 at 03:00", or five cron
	// fields.
	// Example: schedule = "daily at 01:00"
	Schedule calendar.Schedule `toml:"schedule" need:"true"`

	// The targets by name, the preferred one first. The source is read once,
	// into the first that is ready; the others get copies from there.
	// Example: targets = ["nas", "usb"]
	Targets []string `toml:"targets" need:"true"`

	// Recovery point objective: how much work may be lost, as an age.
	// Example: rpo = "24h"
	RPO calendar.Duration `toml:"rpo,omitempty"`

	// Recovery time objective: how long a restore may take.
	// Example: rto = "4h"
	RTO calendar.Duration `toml:"rto,omitempty"`

	// How often a failed run is tried again before its slot counts as failed.
	// Example: retries = 2
	Retries int `toml:"retries" default:"2" range:"0-10"`

	// How the data are read.
	Source Source `toml:"source" need:"true"`

	// How it is proved that the backups restore. Optional.
	Test RestoreTest `toml:"restore_test,omitempty"`
}

// Source says how the data are read. Its keys depend on type: files is folders
// and files, sqlite one SQLite database, postgres one PostgreSQL database with
// the roles and settings of its server.
type Source struct {
	// How the data are read.
	// Example: type = "postgres"
	Type string `toml:"type" need:"true" enum:"files|sqlite|postgres"`

	// Absolute paths of folders and files.
	// Example: paths = ["/etc", "/srv/ho-so"]
	Paths []string `toml:"paths,omitempty" need:"true" of:"files"`

	// Patterns of what to leave out, as restic's --exclude takes them.
	// Example: exclude = ["*.tmp", "/srv/ho-so/cache"]
	Exclude []string `toml:"exclude,omitempty" of:"files"`

	// Whether to stay on the file systems of paths.
	// Example: one_file_system = true
	OneFileSystem bool `toml:"one_file_system,omitempty" of:"files" default:"false"`

	// How many facts are taken for the comparison after a restore. Files:
	// "sampled" (the default) or "full" hashes. Databases: "full" (the default)
	// or only "counts" of rows.
	// Example: facts = "full"
	Facts string `toml:"facts,omitempty" enum:"sampled|full|counts"`

	// Absolute path of the database file.
	// Example: path = "/srv/app/app.db"
	Path string `toml:"path,omitempty" need:"true" of:"sqlite"`

	// Folder of the server's socket, or its host name or address.
	// Example: host = "/var/run/postgresql"
	Host string `toml:"host,omitempty" of:"postgres" default:"/var/run/postgresql"`

	// The server's port; it is part of the socket's name too.
	// Example: port = 5432
	Port int `toml:"port,omitempty" of:"postgres" default:"5432" range:"1-65535"`

	// The role that reads the database; it needs pg_read_all_data.
	// Example: user = "saoluu"
	User string `toml:"user,omitempty" need:"true" of:"postgres"`

	// The role's password, as a reference. Not needed for peer
	// authentication on a socket.
	// Example: password = "credential:qlvb-db"
	Password Secret `toml:"password,omitempty" of:"postgres"`

	// The name of the database.
	// Example: database = "qlvb"
	Database string `toml:"database,omitempty" need:"true" of:"postgres"`

	// How the connection is protected; not on a socket. The default is
	// verify-full, and prefer on the machine itself.
	// Example: sslmode = "verify-full"
	SSLMode string `toml:"sslmode,omitempty" of:"postgres" enum:"disable|allow|prefer|require|verify-ca|verify-full"`

	// Absolute path of the folder with pg_dump and pg_dumpall. The default
	// finds the server's own major version.
	// Example: bin = "/usr/lib/postgresql/15/bin"
	Bin string `toml:"bin,omitempty" of:"postgres"`
}

// RestoreTest says how it is proved that a job's backups restore. The facts
// taken at the backup are always compared; checks come on top.
type RestoreTest struct {
	// When to test, in the forms of the job's schedule. The default follows
	// importance: high "quarterly on 5 at 03:00", normal "half-yearly on 5 at
	// 03:00", low "yearly on 01-05 at 03:00".
	// Example: schedule = "monthly on 5 at 03:00"
	Schedule calendar.Schedule `toml:"schedule,omitempty"`

	// The target to restore from, one of the job's. The default takes turns.
	// Example: target = "nas"
	Target string `toml:"target,omitempty"`

	// Whether to restore only a sample; a full test is still due once a year.
	// Example: sample = true
	Sample bool `toml:"sample,omitempty" default:"false"`

	// Assertions on the restored data.
	Checks []Check `toml:"checks,omitempty"`

	// Absolute path of the folder with the programs of the throwaway server,
	// for a postgres source. The default finds the server's major version.
	// Example: bin = "/usr/lib/postgresql/15/bin"
	Bin string `toml:"bin,omitempty"`
}

// Check is one assertion on restored data. Exactly one of sql, exists, sha256
// and min_files is set. With sql goes what its first value must be: min, max or
// both; or one of equals, newer_than and expected_empty.
type Check struct {
	// What the assertion is called in evidence. The default is its text.
	// Example: name = "documents are there"
	Name string `toml:"name,omitempty"`

	// A query with one value, for sqlite and postgres sources.
	// Example: sql = "SELECT count(*) FROM van_ban"
	SQL string `toml:"sql,omitempty"`

	// The least value; with sql.
	// Example: min = 1
	Min *float64 `toml:"min,omitempty"`

	// The greatest value; with sql.
	// Example: max = 1000000
	Max *float64 `toml:"max,omitempty"`

	// The only value, compared as text; with sql.
	// Example: equals = "utf8"
	Equals *string `toml:"equals,omitempty" scalar:"true"`

	// The value is a time, and at the backup it was at most so old; with sql.
	// Example: newer_than = "48h"
	NewerThan *calendar.Duration `toml:"newer_than,omitempty"`

	// The query returns no row, or a first value that is null, zero or empty;
	// with sql.
	// Example: expected_empty = true
	ExpectedEmpty bool `toml:"expected_empty,omitempty"`

	// Absolute path that must be there, in the paths of a files source.
	// Example: exists = "/etc/fstab"
	Exists string `toml:"exists,omitempty"`

	// File that must have this content, for files sources.
	SHA256 *PathHash `toml:"sha256,omitempty"`

	// The least number of regular files, for files sources.
	// Example: min_files = 100
	MinFiles *int `toml:"min_files,omitempty" range:"1-1000000000"`
}

// PathHash names a file and its SHA-256.
type PathHash struct {
	// The file's absolute path, in the paths of the source.
	// Example: path = "/etc/machine-id"
	Path string `toml:"path" need:"true"`

	// The SHA-256 of its content, 64 hexadecimal digits.
	// Example: hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	Hex string `toml:"hex" need:"true"`
}
