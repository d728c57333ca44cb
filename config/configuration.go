package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"saoluu/internal/calendar"
)

// Classification is a decision whether data are a state secret, on record: designs,
// parameters and conventions of network security may be (Quy chế Sở Tư pháp Quảng Bình
// 2016, Điều 3 khoản 7). What was decided stands in the job's secrecy.
type Classification struct {
	// Number of the decision, or of the minutes it stands in.
	// Example: decision = "12/QĐ-STP"
	Decision string `toml:"decision" need:"true"`

	// Who decided.
	// Example: by = "Giám đốc Sở"
	By string `toml:"by" need:"true"`

	// The day of the decision.
	// Example: date = "2026-10-01"
	Date string `toml:"date" need:"true"`
}

// ConfigCommand is a command that only reads, and whose output is saved with a
// configuration. An exit status other than 0 makes the run incomplete.
type ConfigCommand struct {
	// What its output is called in the backup.
	// Example: name = "docker-images"
	Name string `toml:"name" need:"true"`

	// The program and its arguments, run as they are written, without a shell.
	// Example: argv = ["docker", "images", "--no-trunc"]
	Argv []string `toml:"argv" need:"true"`

	// Regular expressions of lines that change by themselves, and are left out.
	// Example: drop = ["^# Generated on "]
	Drop []string `toml:"drop,omitempty"`
}

// Device is a router, a switch or a firewall whose configuration is read over SSH. It
// must be in the file known_hosts; no question is ever answered but that for password.
type Device struct {
	// What its configuration is called in the backup.
	// Example: name = "router-bien"
	Name string `toml:"name" need:"true"`

	// The family it belongs to: which command is sent, how paging is switched off and
	// which lines change by themselves.
	// Example: preset = "cisco-ios"
	Preset string `toml:"preset" need:"true" enum:"cisco-ios|fortios|junos|mikrotik"`

	// Host name or address.
	// Example: host = "10.10.0.1"
	Host string `toml:"host" need:"true"`

	// Port of its SSH server.
	// Example: port = 22
	Port int `toml:"port,omitempty" default:"22" range:"1-65535"`

	// The account, which should be allowed to show the configuration and nothing else.
	// Example: user = "saoluu"
	User string `toml:"user" need:"true"`

	// Absolute path of a private key without a passphrase. Exactly one of key and
	// password is set.
	// Example: key = "/etc/saoluu/keys/router"
	Key string `toml:"key,omitempty"`

	// The account's password, as a reference.
	// Example: password = "credential:router-bien"
	Password Secret `toml:"password,omitempty"`

	// Absolute path of the file with the device's public key, as ssh-keyscan writes it
	// and a person has compared it.
	// Example: known_hosts = "/etc/saoluu/known_hosts"
	KnownHosts string `toml:"known_hosts" need:"true"`

	// The command that shows the configuration, instead of the family's own.
	// Example: command = "show startup-config"
	Command string `toml:"command,omitempty"`

	// Regular expressions of further lines that change by themselves, and are left out.
	// Example: drop = ["^! Time: "]
	Drop []string `toml:"drop,omitempty"`

	// Whether to let in weak algorithms, for devices that know no others.
	// Example: legacy_algorithms = true
	LegacyAlgorithms bool `toml:"legacy_algorithms,omitempty" default:"false"`
}

// configPresets are the families of commands that presets may name.
var configPresets = [...]string{"debian", "rhel"}

// configuration checks a config source.
func (c checker) configuration(j *Job, s *Source, n *node) {
	if !unusable(n, "paths", "presets", "commands", "devices") && len(s.Paths)+len(s.Presets)+len(s.Commands)+len(s.Devices) == 0 {
		c.problem(n.at, "the source saves nothing", "set at least one of: paths, presets, commands, devices")
	}
	for _, path := range s.Paths {
		if !isCleanPath(path) {
			c.tell(n, "paths", fmt.Sprintf("path %q is not absolute and clean", path), "write the whole path from /, without .. and double slashes")
			continue
		}
		c.apart(j, n, "paths", path)
	}
	seen := map[string]bool{}
	for _, preset := range s.Presets {
		if !slices.Contains(configPresets[:], preset) || seen[preset] {
			c.tell(n, "presets", fmt.Sprintf("preset %q is not known, or named twice", preset), "choose among: "+strings.Join(configPresets[:], ", "))
		}
		seen[preset] = true
	}
	if commands := n.inner("commands"); commands != nil {
		names := map[string]bool{}
		for i, cn := range commands.nodes {
			c.configCommand(&s.Commands[i], cn, names)
		}
	}
	if devices := n.inner("devices"); devices != nil {
		names := map[string]bool{}
		for i, dn := range devices.nodes {
			c.device(&s.Devices[i], dn, names)
		}
	}
}

// artefactName is what may be the name of a file in a backup.
var artefactName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// ownName checks a name that a file is called by, and that it is no other's.
func (c checker) ownName(name string, n *node, taken map[string]bool) {
	switch {
	case !n.good("name"):
	case !artefactName.MatchString(name):
		c.tell(n, "name", fmt.Sprintf("name %q cannot be used", name), "use letters, digits, dots, - and _")
	case taken[name]:
		c.tell(n, "name", fmt.Sprintf("name %q is given twice", name), "give each its own")
	}
	taken[name] = true
}

func (c checker) patterns(n *node, all []string) {
	for _, p := range all {
		if _, err := regexp.Compile(p); err != nil {
			c.tell(n, "drop", fmt.Sprintf("pattern %q: %v", p, err), "write a regular expression (https://pkg.go.dev/regexp/syntax)")
		}
	}
}

func (c checker) configCommand(k *ConfigCommand, n *node, names map[string]bool) {
	c.ownName(k.Name, n, names)
	c.patterns(n, k.Drop)
	if n.good("argv") && (len(k.Argv) == 0 || k.Argv[0] == "") {
		c.tell(n, "argv", "no program is named to run", "write the program, then its arguments")
	}
}

func (c checker) device(d *Device, n *node, names map[string]bool) {
	c.ownName(d.Name, n, names)
	c.patterns(n, d.Drop)
	c.secret(n, "password", d.Password)
	c.absolute(n, "key", d.Key)
	c.absolute(n, "known_hosts", d.KnownHosts)
	if !unusable(n, "key", "password") && (d.Key == "") == (d.Password == "") {
		c.problem(n.at, "a device is logged in to by a key or by a password", "set exactly one of: key, password")
	}
	if n.good("host") && (d.Host == "" || strings.ContainsAny(d.Host, "/ ,@")) {
		c.tell(n, "host", fmt.Sprintf("host %q cannot be used", d.Host), "write one host name or address")
	}
	if n.good("user") && d.User == "" {
		c.tell(n, "user", `"user" is empty`, "write its name")
	}
	if strings.ContainsAny(d.Command, "\r\n") {
		c.tell(n, "command", "the command has more than one line", "write one")
	}
}

// parsed checks a check by a parser.
func (c checker) parsed(k *Check, n *node, kind string) {
	switch {
	case len(n.written("parse")) == 0 && len(n.written("path")) > 0:
		c.tell(n, "path", `"path" goes with parse`, "remove it")
	case !n.good("parse"):
	case kind != "" && kind != "files" && kind != "config":
		c.tell(n, "parse", fmt.Sprintf("a %s source has no configuration to parse", kind), "remove it")
	case len(n.written("path")) == 0 && slices.Contains([]string{"ini", "json", "postgres", "systemd", "toml", "yaml"}, k.Parse):
		c.tell(n, "parse", fmt.Sprintf("nothing says which file of the form %q is parsed", k.Parse), "add path, with the whole path of one")
	}
	c.absolute(n, "path", k.Path)
}

// classification checks that a decision says which it is, and when.
func (c checker) classification(k *Classification, n *node) {
	for key, text := range map[string]string{"decision": k.Decision, "by": k.By} {
		if n.good(key) && strings.TrimSpace(text) == "" {
			c.tell(n, key, fmt.Sprintf("%q is empty", key), "write it down")
		}
	}
	if _, err := calendar.ParseDate(k.Date); n.good("date") && err != nil {
		c.tell(n, "date", fmt.Sprintf("%q is not a day of the calendar", k.Date), "write it as \"2026-05-31\"")
	}
}
