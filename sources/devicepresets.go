package sources

import (
	"bytes"
	"regexp"
)

// A devicePreset says how the configuration of one family of network devices is read.
type devicePreset struct {
	shell   bool     // devices that take no command but in a session with a prompt
	before  []string // said first in a session: switches paging off
	command string   // shows the configuration
	leave   string   // ends a session
	refused *regexp.Regexp
	whole   *regexp.Regexp // matches what a whole configuration ends with; nil: the exit status says so
	holes   *regexp.Regexp // matches what stands where something was left out; nil: nothing ever is
	drop    []string       // lines that change by themselves
	settle  *regexp.Regexp // what may change each time it is shown and must be saved
}

// refusedWithin is the length of a text that can be a refusal alone; a longer one is a
// configuration, in which the same words may stand for something else.
const refusedWithin = 4096

// refusal returns what the device says instead of its configuration, or at last where it
// went on no further; nil: nothing of that.
func (p devicePreset) refusal(text []byte) []byte {
	text = bytes.TrimSpace(text)
	if len(text) >= refusedWithin {
		text = text[bytes.LastIndexByte(text, '\n')+1:]
	}
	at := p.refused.FindIndex(text)
	if at == nil {
		return nil
	}
	return bytes.TrimSpace(firstLine(text[at[0]:]))
}

// hole returns what stands where the device left something out; nil: nowhere.
func (p devicePreset) hole(text []byte) []byte {
	if p.holes == nil {
		return nil
	}
	return firstLine(p.holes.Find(text))
}

// prompt is what a session waits for: a name and a mark at the end of all that was said.
var prompt = regexp.MustCompile(`(?:^|[\r\n])[\w.@/~:()\[\] -]{1,120}[>#$%] ?$`)

// asks is a question that only a person could answer.
var asks = regexp.MustCompile(`(?i)(?:^|[\r\n])[^\r\n]{0,80}(?:password|passphrase|username|login|passcode|otp)[^\r\n]{0,20}: ?$`)

// more is where a device waits for a key before it goes on.
var more = regexp.MustCompile(`(?i)[\r\n ]*-{2,} ?\(?more\)?[^\r\n]{0,20}-{2,} *$|[\r\n ]*<--- more --->\s*$`)

// DevicePresets are the families of devices that are known.
func DevicePresets() []string { return []string{"cisco-ios", "fortios", "junos", "mikrotik"} }

// devicePresets describes the families, by the documents of their makers: Cisco IOS
// Configuration Fundamentals, MikroTik "Configuration Management", Fortinet "CLI
// Reference", Juniper "CLI User Guide".
func devicePresets(family string) (devicePreset, bool) {
	switch family {
	case "cisco-ios":
		return devicePreset{
			shell: true, before: []string{"terminal length 0", "terminal width 0"}, command: "show running-config", leave: "exit",
			refused: regexp.MustCompile(`(?mi)^\s*% ?(invalid|incomplete|unknown|ambiguous|authorization|error)|^command authorization failed`),
			whole:   regexp.MustCompile(`(?m)^end\s*\z`),
			drop: []string{
				`^Building configuration`, `^Current configuration *:`, `^! Last configuration change at`, `^! NVRAM config last updated`,
				`^! No configuration change since`, `^ntp clock-period`, `(?i)\buptime is\b`, `^!Time:`,
			},
		}, true
	case "fortios":
		return devicePreset{
			shell: true, command: "show full-configuration", leave: "exit",
			refused: regexp.MustCompile(`(?mi)^(unknown action|command fail|command parse error|.*return code -\d+)`),
			whole:   regexp.MustCompile(`(?m)^end\s*\z`),
			drop:    []string{`^#conf_file_ver=`, `^#private-encryption-key=`, `^#buildno=`, `^#global_vdom=`, `(?i)\buptime\b`},
			// Each showing encrypts passwords and private keys anew; hashes of passwords stay.
			settle: regexp.MustCompile(`(?m)\bENC \S+|-----BEGIN [A-Z ]*PRIVATE KEY-----[^"]*?-----END [A-Z ]*PRIVATE KEY-----`),
		}, true
	case "junos":
		return devicePreset{
			command: "show configuration | display set | no-more",
			refused: regexp.MustCompile(`(?mi)^\s*(error:|unknown command|syntax error|permission denied)`),
			// To an account without the rights it says so in the place of what it hides.
			holes: regexp.MustCompile(`(?m)^.*(?:/\*|##) *(?:ACCESS-DENIED|SECRET-DATA \*/).*$`),
			drop:  []string{`^## Last (commit|changed):`, `^set version-uptime`},
		}, true
	case "mikrotik":
		return devicePreset{
			command: "/export show-sensitive",
			refused: regexp.MustCompile(`(?mi)^(bad command name|expected end of command|syntax error|input does not match|no such item|failure:)`),
			// A menu that does not answer in time is left out, and the status is good all the same.
			holes: regexp.MustCompile(`(?m)^#\s*(?:error exporting|interrupted).*$`),
			drop:  []string{`^# .* by RouterOS`, `^# [a-z]{3}/\d\d/\d{4} `, `^# \d{4}-\d\d-\d\d `},
		}, true
	}
	return devicePreset{}, false
}
