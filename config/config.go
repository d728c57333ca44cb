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
//	only     why there are no others; the hint for one that is not among them
//	range    the least and the greatest whole number
//	of       the only values of "type" beside which the key may stand
//	scalar   takes a string, a number or a boolean, kept as text
package config

import (
	"slices"
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

	// What restore tests may take of this machine. Optional.
	Limits Limits `toml:"limits,omitempty"`

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

	// Language of reports: Vietnamese only for now. Commands and logs are English.
	// Example: language = "vi"
	Language string `toml:"language,omitempty" default:"vi" enum:"vi" only:"reports are in Vietnamese only for now"`

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

	// SHA-256 of the restic program in hexadecimal, as "sha256sum" prints it. Optional:
	// when it is given, a program with another one is not run, and saoluu has to be
	// told of every new version.
	// Example: sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	SHA256 string `toml:"sha256,omitempty"`

	// A dump or restic without any progress for so long is ended.
	// Example: stall_timeout = "30m"
	StallTimeout calendar.Duration `toml:"stall_timeout,omitempty" default:"30m"`

	// A run that takes longer in total is ended; at least stall_timeout.
	// Example: total_timeout = "24h"
	TotalTimeout calendar.Duration `toml:"total_timeout,omitempty" default:"24h"`
}

// Limits says what restore tests may take of this machine, which may be the one that
// everybody works on. A test that needs more ends as unknown, never as failed. It may be
// left out.
type Limits struct {
	// Memory that each process of a throwaway server may have for itself; a Redis
	// server takes what its data take, and is not started when there is less. A row
	// of 1 GiB, the largest that PostgreSQL has, takes about 4.
	// Example: test_memory = "2GiB"
	TestMemory calendar.Bytes `toml:"test_memory,omitempty" default:"4GiB"`

	// Room to leave on the file system of paths.scratch. A test is not begun when it
	// would take it, and is ended before it does.
	// Example: test_reserve = "10GiB"
	TestReserve calendar.Bytes `toml:"test_reserve,omitempty" default:"1GiB"`
}

// Class is a retention class: how long backups are kept, how many, and in how
// many places.
type Class struct {
	// What the class holds, for the list of backups by class. The default is
	// the class's name.
	// Example: title = "Dữ liệu nghiệp vụ"
	Title string `toml:"title,omitempty"`

	// Which backups to keep. Without it only keep_max removes any.
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

	// Within which time everything on the targets of its jobs is read back to see
	// that it is whole, a part each night; a target that several classes use keeps
	// to the shortest. At least a day, at most a year. What is newest should be read
	// within 31 days and the rest within 92; a longer time leaves the newest to
	// restore tests.
	// Example: reread_every = "14d"
	RereadEvery calendar.Period `toml:"reread_every,omitempty" default:"31d"`

	// When more than so many in a hundred of a job's backups on a target would
	// be removed at once, none is until a second person has approved it. A job
	// that runs more often than its backups are thinned out needs more.
	// Example: approve_over = 50
	ApproveOver int `toml:"approve_over,omitempty" default:"30" range:"1-100"`
}

// Keep says which backups to keep, counting good ones: so many of the newest,
// and the newest of so many hours, days, weeks, months and years that have one,
// on each target. What is not said is 0; a class without this table keeps all
// that is not older than keep_max.
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

// defaultReread is RereadEvery of a target that no job uses.
const defaultReread = 31 // days

// RereadEvery is the time within which all of a target is read back: the shortest
// of the classes whose jobs use it.
func (c *Config) RereadEvery(target string) calendar.Period {
	least := calendar.Period{}
	for _, job := range c.Jobs {
		every := c.Classes[job.Class].RereadEvery
		if slices.Contains(job.Targets, target) && (least.IsZero() || every.Cmp(least) < 0) {
			least = every
		}
	}
	if least.IsZero() {
		return calendar.Period{Days: defaultReread}
	}
	return least
}
