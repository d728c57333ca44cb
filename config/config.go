// Package config reads TOML and gives out checked values.
package config

import (
	"time"

	"saoluu/internal/calendar"
)

// A Config is the whole checked configuration of one site. Every reference in
// it resolves, every value is in range; nobody checks it again.
type Config struct {
	Site       Site                 `toml:"site"`
	Paths      Paths                `toml:"paths"`
	Engine     Engine               `toml:"engine"`
	Classes    map[string]Class     `toml:"classes"`
	Custodians map[string]Custodian `toml:"custodians"`
	Targets    map[string]Target    `toml:"targets"`
	Jobs       map[string]Job       `toml:"jobs"`
}

type Site struct {
	Name     string         `toml:"name"`
	Code     string         `toml:"code"`
	Level    int            `toml:"level"`
	Zone     string         `toml:"zone"`
	Timezone string         `toml:"timezone"`
	Language string         `toml:"language"`
	Packs    []string       `toml:"packs"`
	Location *time.Location `toml:"-"` // of Timezone
}

type Paths struct {
	State   string `toml:"state"`
	Scratch string `toml:"scratch"`
}

// Engine says which restic to run and how hard.
type Engine struct {
	Restic       string            `toml:"restic"`        // path; empty: SAOLUU_RESTIC, beside the binary, /usr/lib/saoluu, PATH
	StallTimeout calendar.Duration `toml:"stall_timeout"` // default 30m: no progress at all ends the run
	TotalTimeout calendar.Duration `toml:"total_timeout"` // default 24h
}

type Class struct {
	Title   string          `toml:"title"`
	Keep    Keep            `toml:"keep"`
	KeepMin calendar.Period `toml:"keep_min"`
	KeepMax calendar.Period `toml:"keep_max"`
	Copies  int             `toml:"copies"` // default 1
}

type Keep struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
}

type Custodian struct {
	Title     string `toml:"title"`
	Recipient string `toml:"recipient"`
}

type Target struct {
	Type     string         `toml:"type"` // local here; other kinds come with their own keys
	Path     string         `toml:"path"`
	Password Secret         `toml:"password"`
	Parallel int            `toml:"parallel"` // overlapping backups; default 4
	Site     string         `toml:"site"`     // where the medium stands, if not at the agency
	External bool           `toml:"external"` // counts as an external storage device
	Reserve  calendar.Bytes `toml:"reserve"`  // free space that must remain; default 1 GiB
}

type Job struct {
	Name       string            `toml:"-"`
	Title      string            `toml:"title"`
	System     string            `toml:"system"`
	Category   string            `toml:"category"`
	Importance string            `toml:"importance"`
	Secrecy    string            `toml:"secrecy"`
	Label      string            `toml:"label"`
	Owner      string            `toml:"owner"`
	InService  string            `toml:"in_service"` // date the asset went into service, YYYY-MM-DD; optional
	Class      string            `toml:"class"`
	Schedule   calendar.Schedule `toml:"schedule"`
	Targets    []string          `toml:"targets"`
	RPO        calendar.Duration `toml:"rpo"`
	RTO        calendar.Duration `toml:"rto"`
	Retries    int               `toml:"retries"` // default 2
	Source     Source            `toml:"source"`
	Test       RestoreTest       `toml:"restore_test"`
}

// Source is the union of the keys of all source kinds; Load rejects keys of other kinds.
type Source struct {
	Type          string   `toml:"type"` // files | sqlite | postgres
	Paths         []string `toml:"paths"`
	Exclude       []string `toml:"exclude"`
	OneFileSystem bool     `toml:"one_file_system"`
	Facts         string   `toml:"facts"` // sampled (default) | full; sqlite/postgres: full (default) | counts
	Path          string   `toml:"path"`
	Host          string   `toml:"host"`
	Port          int      `toml:"port"`
	User          string   `toml:"user"`
	Password      Secret   `toml:"password"`
	Database      string   `toml:"database"`
}

type RestoreTest struct {
	Schedule calendar.Schedule `toml:"schedule"` // default by importance
	Target   string            `toml:"target"`
	Sample   bool              `toml:"sample"`
	Checks   []Check           `toml:"checks"`
	Bin      string            `toml:"bin"` // folder of the throwaway server's programs; optional
}

// Check is one assertion; exactly one of SQL, Exists, SHA256, MinFiles is set.
type Check struct {
	Name          string             `toml:"name"`
	SQL           string             `toml:"sql"`
	Min           *float64           `toml:"min"`
	Max           *float64           `toml:"max"`
	Equals        *string            `toml:"equals"` // string, integer or float in TOML; compared as text
	NewerThan     *calendar.Duration `toml:"newer_than"`
	ExpectedEmpty bool               `toml:"expected_empty"`
	Exists        string             `toml:"exists"`
	SHA256        *PathHash          `toml:"sha256"`
	MinFiles      *int               `toml:"min_files"`
}

type PathHash struct {
	Path string `toml:"path"`
	Hex  string `toml:"hex"`
}

// Secret is a reference, never a value.
type Secret string
