package config

import (
	_ "embed"
	"fmt"
	"maps"

	"github.com/pelletier/go-toml/v2"
)

// Show returns the configuration as one TOML text with the defaults filled in.
// It loads again to an equal Config. Secrets appear as references.
func Show(c *Config) ([]byte, error) {
	shown := *c
	shown.Targets = maps.Clone(c.Targets)
	for name, t := range shown.Targets {
		for _, s := range []*Secret{&t.Password, &t.AccessKey, &t.SecretKey, &t.Key, &t.UserPassword} {
			*s = Secret(s.String()) // the library does not ask strings how they print
		}
		shown.Targets[name] = t
	}
	shown.Jobs = maps.Clone(c.Jobs)
	for name, j := range shown.Jobs {
		j.Source.Password = Secret(j.Source.Password.String())
		shown.Jobs[name] = j
	}
	text, err := toml.Marshal(shown)
	if err != nil {
		return nil, fmt.Errorf("write configuration as TOML: %w", err)
	}
	return text, nil
}

//go:embed saoluu.example.toml
var example []byte

// Example returns a commented configuration that loads and uses every key.
func Example() []byte { return append([]byte(nil), example...) }

//go:embed saoluu.minimal.toml
var minimal []byte

// Minimal returns the smallest commented configuration that works: no key can be
// left out of it.
func Minimal() []byte { return append([]byte(nil), minimal...) }

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema of the configuration, for TOML editors.
func Schema() []byte { return append([]byte(nil), schema...) }
