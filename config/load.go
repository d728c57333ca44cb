package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"saoluu/internal/calendar"
	"saoluu/internal/fault"
)

// DefaultFile is where the configuration is when nobody says otherwise.
const DefaultFile = "/etc/saoluu/saoluu.toml"

// Options say what to load.
type Options struct {
	// File is the main file; the conf.d/*.toml beside it are read after it, in
	// the order of their names, hidden files left out. Empty means DefaultFile.
	File string

	// Packs are the rule packs that exist. Empty means that the names in
	// site.packs are not checked.
	Packs []string
}

// Load reads a configuration. The error is a fault of Kind Usage. When the
// content is at fault, Problems is in its chain and holds every problem. Of a
// file that is not TOML only the part before that place is looked at, and then
// nothing is said about missing keys and references.
func Load(o Options) (*Config, error) {
	if o.File == "" {
		o.File = DefaultFile
	}
	sources, err := readSources(o.File)
	if err != nil {
		return nil, err
	}
	return load(sources, o.Packs)
}

// Files returns the texts that Load would read, by their paths relative to the
// folder of the main file.
func Files(file string) (map[string][]byte, error) {
	sources, err := readSources(file)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, s := range sources {
		name, err := filepath.Rel(filepath.Dir(file), s.name)
		if err != nil {
			return nil, err
		}
		files[name] = s.text
	}
	return files, nil
}

// Parse reads a configuration from one text; name stands for the file in
// problems.
func Parse(name string, text []byte) (*Config, error) {
	return load([]source{{name, text}}, nil)
}

func load(sources []source, packs []string) (*Config, error) {
	d := newDecoder(sources)
	d.read()
	if !d.broken {
		checker{d, packs, map[string]calendar.Schedule{}}.check()
	}
	if len(d.problems) > 0 {
		return nil, report(sources, d.problems)
	}
	return d.publish(), nil
}

// readSources reads the main file and what lies beside it.
func readSources(file string) ([]source, error) {
	names := []string{file}
	dir := filepath.Join(filepath.Dir(file), "conf.d")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Usage, "configuration", err, "let the user that runs saoluu read the folder "+dir)
	}
	for _, e := range entries { // sorted by name
		if filepath.Ext(e.Name()) == ".toml" && !strings.HasPrefix(e.Name(), ".") { // editors leave .#x.toml
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	var sources []source
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fault.New(fault.Usage, "configuration", err, readHint(name, err))
		}
		sources = append(sources, source{name, slices.Clip(text)})
	}
	return sources, nil
}

func readHint(name string, err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("write one: saoluu config example > %s; or name another with --config", name)
	}
	return "let the user that runs saoluu read " + name
}
