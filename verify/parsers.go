package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// Parsers are the names by which a check asks whether a restored configuration can be
// read by the service it is for.
func Parsers() []string {
	return []string{"apache", "ini", "json", "named", "nft", "nginx", "postgres", "sshd", "sudoers", "systemd", "toml", "yaml"}
}

// A parser reads a configuration without doing what it says.
type parser struct {
	program string
	folder  string // of the program, where it lies beside the usual places
	path    string // what is read when the check names nothing
	argv    func(path string) []string
	syntax  func(text []byte) error // instead of a program
	// absent matches what a program says when it lacks something that is not part of the
	// configuration, such as a name server: then nothing was learnt about that.
	absent *regexp.Regexp
	// found matches what it only says of an error, whatever it lacks beside.
	found *regexp.Regexp
	// includes matches a line that names other files to be read, which the program does not
	// miss where there are none; nil: it misses each.
	includes *regexp.Regexp
}

// parserOf returns a parser by its name, for the file that it shall read; empty: the one
// of the service.
func parserOf(name, file string) (parser, bool) {
	switch name {
	case "apache":
		return apacheParser(file), true
	case "postgres":
		return postgresParser(file), true
	case "named":
		return parser{program: "named-checkconf", path: "/etc/bind/named.conf", argv: func(path string) []string { return []string{path} }}, true
	case "nft":
		return parser{program: "nft", path: "/etc/nftables.conf", argv: func(path string) []string { return []string{"-c", "-f", path} },
			absent: regexp.MustCompile(`(?is)operation not permitted|cache initialization failed|protocol not supported|operation not supported|` +
				`interface does not exist|(?:user|group) does not exist|could not resolve|no such file or directory\n[^\n]*\bdevices?\b`),
			found: regexp.MustCompile(`syntax error`), includes: regexp.MustCompile(`(?m)^\s*include\s+"([^"]*[*?\[][^"]*)"`)}, true
	case "nginx":
		return parser{program: "nginx", path: "/etc/nginx/nginx.conf", argv: func(path string) []string { return []string{"-t", "-q", "-c", path} },
			absent:   regexp.MustCompile(`(?i)host not found in|cannot assign requested address|could not be resolved|dlopen\(\)|bind\(\) to .* failed`),
			includes: regexp.MustCompile(`(?m)^[^#\n]*?\binclude\s+["']?([^\s;"']*[*?\[][^\s;"']*)`)}, true
	case "sshd":
		return parser{program: "sshd", path: "/etc/ssh/sshd_config", argv: func(path string) []string { return []string{"-t", "-f", path} },
			absent:   regexp.MustCompile(`(?i)no hostkeys available|unable to load host key|privilege separation user`),
			includes: regexp.MustCompile(`(?mi)^\s*include[\s=]+(.+)$`)}, true
	case "sudoers":
		return parser{program: "visudo", path: "/etc/sudoers", argv: func(path string) []string { return []string{"-c", "-f", path} },
			includes: regexp.MustCompile(`(?m)^\s*[@#]includedir\s+(\S+)`)}, true
	case "systemd":
		return parser{program: "systemd-analyze", argv: func(path string) []string { return []string{"verify", "--man=no", "--recursive-errors=no", path} },
			absent: regexp.MustCompile(`(?i)is not executable|failed to (?:connect|create bus)`), found: regexp.MustCompile(`(?m)^/\S+:\d+: `)}, true
	case "json":
		return parser{syntax: jsonSyntax}, true
	case "toml":
		return parser{syntax: tomlSyntax}, true
	case "yaml":
		return parser{syntax: yamlSyntax}, true
	case "ini":
		return parser{syntax: iniSyntax}, true
	}
	return parser{}, false
}

// apacheParser starts the server as the system at hand does: Debian's by a script that
// reads the variables that its configuration uses, others by itself.
func apacheParser(file string) parser {
	p := parser{program: "apachectl", path: "/etc/apache2/apache2.conf", argv: func(path string) []string { return []string{"-t", "-f", path} },
		absent:   regexp.MustCompile(`(?i)could not resolve host|name or service not known|Cannot load modules?/`),
		includes: regexp.MustCompile(`(?mi)^\s*include(?:optional\s+["']?(\S+?)|\s+["']?(\S*[*?\[]\S*?))["']?\s*$`)}
	if strings.HasPrefix(file, "/etc/httpd/") {
		p.program = "httpd"
	}
	return p
}

// versioned is a folder of a path that is the major version of a server.
var versioned = regexp.MustCompile(`/(\d{1,2}(?:\.\d)?)/`)

// postgresParser asks the server of the version that the path names for one value, which
// it prints when it has read all the others (postgres(1), -C). Locales are those of the
// machine, and where the path names no version, the server may be another than theirs.
func postgresParser(file string) parser {
	p := parser{program: "postgres", absent: regexp.MustCompile(`invalid value for parameter "lc_`), argv: func(file string) []string {
		return []string{"-C", "data_directory", "-c", "config_file=" + file, "-D", path.Dir(file)}
	}}
	if v := versioned.FindStringSubmatch(file); v != nil {
		p.folder = "/usr/lib/postgresql/" + v[1] + "/bin"
	} else {
		p.folder = "/usr/lib/postgresql/*/bin"
		p.absent = regexp.MustCompile(`invalid value for parameter "lc_|unrecognized configuration parameter`)
	}
	return p
}

func jsonSyntax(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	var value, more any
	if err := d.Decode(&value); err != nil {
		return err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	if value == nil {
		return errNothing
	}
	return nil
}

// errNothing is the error for a file that a parser likes because it has nothing to read in it.
var errNothing = errors.New("there is no value in it")

func tomlSyntax(text []byte) error {
	var table map[string]any
	if err := toml.Unmarshal(text, &table); err != nil {
		return err
	}
	if len(table) == 0 {
		return errNothing
	}
	return nil
}

// yamlSyntax reads all documents of a file. A key that stands twice is an error, and so is
// a file in which there is no mapping and no list: any line of prose is YAML.
func yamlSyntax(text []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	values := 0
	for {
		var value any
		switch err := d.Decode(&value); {
		case errors.Is(err, io.EOF) && values == 0:
			return errNothing
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		switch value.(type) {
		case nil:
		case map[string]any, map[any]any, []any:
			values++
		default:
			return errors.New("it is no mapping and no list")
		}
	}
}

// iniSyntax accepts sections, keys with and without a value, comments and lines that
// continue the one before.
func iniSyntax(text []byte) error {
	n, settings := 0, 0
	for line := range strings.Lines(string(text)) {
		n++
		bare := strings.TrimSpace(line)
		if strings.ContainsAny(bare, "=:[") {
			settings++
		}
		switch {
		case strings.ContainsRune(bare, 0):
			return fmt.Errorf("line %d: not text", n)
		case bare == "", bare[0] == ';', bare[0] == '#', bare[0] == '!':
		case bare[0] == '[' && !strings.Contains(bare, "]"):
			return fmt.Errorf("line %d: the section has no end", n)
		case bare[0] == '=':
			return fmt.Errorf("line %d: the value has no name", n)
		}
	}
	if settings == 0 {
		return errors.New("there is no section and no value in it")
	}
	return nil
}
