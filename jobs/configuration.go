package jobs

import (
	"errors"
	"fmt"
	"slices"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// classification is the decision on record whether a job's data are a state secret.
func classification(j config.Job) *catalog.Classification {
	if j.Classification == nil {
		return nil
	}
	k := catalog.Classification(*j.Classification)
	return &k
}

// classifies is the pack that wants configurations classified before they are read.
const classifies = "QBTP"

// classified refuses to read a configuration of which nobody has decided whether it is a
// state secret, where the site's rules want that decided first.
func (r *Runner) classified(job config.Job) error {
	if !isConfiguration(job) || job.Classification != nil || !slices.Contains(r.Config.Site.Packs, classifies) {
		return nil
	}
	return fault.New(fault.Refused, "",
		errors.New("nobody has decided on record whether its configuration is a state secret ("+classifies+"-3.7)"),
		fmt.Sprintf("have it decided, and write the decision, who made it and when in [jobs.%s.classification]", job.Name))
}

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
