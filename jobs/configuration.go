package jobs

import (
	"saoluu/config"
	"saoluu/sources"
)

// configuration makes the source of a configuration.
func (r *Runner) configuration(s config.Source) (sources.Source, error) {
	c := &sources.Config{Paths: s.Paths, Exclude: s.Exclude, OneFileSystem: s.OneFileSystem, Now: r.Now}
	for _, family := range s.Presets {
		c.Commands = append(c.Commands, sources.CommandPresets(family)...)
	}
	for _, k := range s.Commands {
		c.Commands = append(c.Commands, sources.ConfigCommand{Name: k.Name, Argv: k.Argv, Drop: k.Drop})
	}
	for _, d := range s.Devices {
		device := sources.Device{
			Name: d.Name, Preset: d.Preset, Command: d.Command, Drop: d.Drop, Host: d.Host, Port: d.Port, User: d.User,
			Key: d.Key, KnownHosts: d.KnownHosts, Legacy: d.LegacyAlgorithms,
		}
		if d.Password != "" {
			var err error
			if device.Password, err = d.Password.Resolve(r.secrets()); err != nil {
				return nil, err
			}
		}
		c.Devices = append(c.Devices, device)
	}
	return c, nil
}
