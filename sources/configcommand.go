package sources

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A ConfigCommand is a program that only reads, and prints something about the state of
// this machine. It is run as it is written, without a shell.
type ConfigCommand struct {
	// Name is what its output is called in the backup.
	Name string
	// Argv is the program and its arguments.
	Argv []string
	// Drop are patterns of lines that change by themselves, and are left out.
	Drop []string

	optional bool   // of a preset: where it is not installed there is nothing to save
	nothing  string // what it says when it fails because there is nothing; empty: it never does
	sorted   bool   // its lines come in no order of their own
}

const (
	commandLimit = 2 * time.Minute // a program that reads the state of a machine takes seconds
	commandBytes = 16 << 20        // most that is kept of it
)

// CommandPresets are the programs that tell the state of a machine of one family.
// Those that are not installed are passed over, and the facts say so.
func CommandPresets(family string) []ConfigCommand {
	any := []ConfigCommand{
		{Name: "unit-files", Argv: []string{"systemctl", "list-unit-files", "--no-pager", "--no-legend", "--plain"}, Drop: []string{`\stransient\b`}},
		{Name: "sysctl", Argv: []string{"sysctl", "-a"}, Drop: volatileSysctl, sorted: true},
		{Name: "addresses", Argv: []string{"ip", "addr"}, Drop: []string{`^\s+valid_lft \d`, `^\s+inet6 .* temporary\b`}},
		{Name: "routes", Argv: []string{"ip", "route", "show", "table", "all"}, Drop: []string{`\bexpires\b`}},
		{Name: "rules", Argv: []string{"ip", "rule"}},
		{Name: "nftables", Argv: []string{"nft", "--stateless", "list", "ruleset"}},
		{Name: "crontab", Argv: []string{"crontab", "-l"}, nothing: "no crontab for"},
		{Name: "mounts", Argv: []string{"findmnt", "--real", "-rn", "-o", "TARGET,SOURCE,FSTYPE,OPTIONS"}, Drop: []string{`\s(overlay|squashfs|fuse[.\w]*)\s`, `\s/dev/loop`, `^/(run/)?media/`}, sorted: true},
		{Name: "disks", Argv: []string{"lsblk", "-e", "7", "-rno", "NAME,TYPE,SIZE,FSTYPE,UUID,HOTPLUG"}, Drop: []string{`\s1$`}, sorted: true},
		{Name: "kernel", Argv: []string{"uname", "-srvm"}},
	}
	switch family {
	case "debian":
		any = append(any,
			ConfigCommand{Name: "packages", Argv: []string{"dpkg-query", "-W", "-f", "${Package}\t${Version}\t${Architecture}\t${db:Status-Abbrev}\n"}},
			ConfigCommand{Name: "packages-chosen", Argv: []string{"apt-mark", "showmanual"}, sorted: true},
			ConfigCommand{Name: "packages-held", Argv: []string{"apt-mark", "showhold"}, sorted: true})
	case "rhel":
		any = append(any,
			ConfigCommand{Name: "packages", Argv: []string{"rpm", "-qa", "--qf", "%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\t%{ARCH}\n"}, sorted: true},
			ConfigCommand{Name: "firewalld", Argv: []string{"firewall-cmd", "--permanent", "--list-all-zones"}, nothing: "is not running"},
			ConfigCommand{Name: "selinux", Argv: []string{"semanage", "export"}})
	default:
		return nil
	}
	for i := range any {
		any[i].optional = true
	}
	return any
}

// volatileSysctl are settings of the kernel that are none: counters, what it makes up
// anew each time it is read or started, a key, and those of interfaces that come and go
// with containers and guests (Linux, Documentation/admin-guide/sysctl).
var volatileSysctl = []string{
	`^fs\.(dentry-state|file-nr|inode-nr|inode-state|aio-nr)\b`,
	`^fs\.quota\.`, `^fs\.binfmt_misc\.`,
	`^kernel\.(ns_last_pid|random\.|pty\.nr|perf_event_max_sample_rate|sched_domain)`,
	`^net\.netfilter\.nf_conntrack_count\b`, `^net\.ipv4\.tcp_fastopen_key\b`, `^net\.ipv[46]\.(conf|neigh)\.(veth|vnet|tap|cali)\w*\.`,
	`^vm\.stat_refresh\b`, `^dev\.cdrom\.info`,
}

// denied matches what programs say to a user who may not know.
var denied = regexp.MustCompile(`(?i)not permitted|permission denied|must be root|not authorized|authorization failed`)

// output runs the program.
func (c ConfigCommand) output(ctx context.Context) (statement, error) {
	op := fmt.Sprintf("command %q", c.Name)
	program, err := command.Program(c.Argv[0])
	if c.optional && fault.KindOf(err) == fault.MissingTool {
		return statement{skipped: fmt.Sprintf("program %q is not installed", c.Argv[0])}, nil
	}
	if err != nil {
		return statement{}, fault.New(fault.KindOf(err), op, err, fault.HintOf(err))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, commandLimit, fault.New(fault.TimedOut, "", fmt.Errorf("over its limit of %s", commandLimit), ""))
	defer cancel()
	text, err := command.Output(ctx, command.Cmd{
		Argv: append([]string{program}, c.Argv[1:]...),
		Env:  []string{"PATH=" + plainPath, "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/nonexistent"},
	}, commandBytes)
	var exit *command.ExitError
	failed := errors.As(err, &exit)
	if c.nothing != "" && failed && exit.Signal == 0 && strings.Contains(exit.Stderr, c.nothing) {
		err = nil
	}
	if err != nil && c.optional && failed && denied.MatchString(exit.Stderr) {
		err = fault.New(fault.KindOf(err), "", err, "give the user of the service the right it wants (docs/how-to/configurations.md), or name the commands one by one instead of the preset")
	}
	if err != nil {
		return statement{}, fault.New(fault.KindOf(err), op, err, cmp.Or(fault.HintOf(err), "run it by hand to see what it says, or take it out of the job"))
	}
	text, err = dropLines(text, c.Drop)
	if err != nil {
		return statement{}, fault.New(fault.Usage, op, err, "mend its drop patterns")
	}
	if c.sorted {
		lines := bytes.SplitAfter(text, []byte{'\n'})
		slices.SortFunc(lines, bytes.Compare)
		text = bytes.Join(lines, nil)
	}
	return statement{text: text}, nil
}

// dropLines returns text without the lines that one of the patterns matches.
func dropLines(text []byte, patterns []string) ([]byte, error) {
	if len(patterns) == 0 {
		return text, nil
	}
	var all []*regexp.Regexp
	for _, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, err
		}
		all = append(all, re)
	}
	var kept []byte
	for line := range bytes.Lines(text) {
		bare := bytes.TrimRight(line, "\r\n")
		if !slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.Match(bare) }) {
			kept = append(kept, line...)
		}
	}
	return kept, nil
}
