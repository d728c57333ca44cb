package sources

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// Parts of a configuration: files as they lie, and what programs and devices say, each
// a folder of that name with one file for each of them.
const (
	PartPaths    = "paths"
	PartCommands = "commands"
	PartDevices  = "devices"
)

// Config is a source of configurations: files, what programs of this machine print
// about its state, and what network devices show of themselves. What changes by itself
// from one time to the next, such as a clock, is left out of the latter two, so that two
// versions differ only where somebody changed something.
type Config struct {
	// Paths, Exclude and OneFileSystem are those of Files; Paths may be empty.
	Paths, Exclude []string
	OneFileSystem  bool
	// Commands are run one after the other.
	Commands []ConfigCommand
	// Devices are asked one after the other, so that nobody takes it for an attack.
	Devices []Device
	// Now is the wall clock.
	Now func() time.Time
	// Fstab is that of Files.
	Fstab string
}

var (
	_ Source  = (*Config)(nil)
	_ Locator = (*Config)(nil)

	_ Examiner = (*Config)(nil)
)

// Examine looks for the programs, and for what is needed to log in to the devices: a key
// that can be read and the devices' own. No device is asked.
func (c *Config) Examine(context.Context) error {
	var all []error
	for _, one := range c.Commands {
		if _, err := command.Program(one.Argv[0]); err != nil && !one.optional {
			all = append(all, fault.New(fault.KindOf(err), fmt.Sprintf("command %q", one.Name), err, fault.HintOf(err)))
		}
	}
	for _, d := range c.Devices {
		all = append(all, d.ready())
	}
	return errors.Join(all...)
}

// Prepare asks programs and devices, and makes the files ready to be read. One that
// does not answer is in Lacks, so that what there is of the others is saved; the error is
// for a missing path, and for when nothing was left to save.
func (c *Config) Prepare(ctx context.Context, scratch string) (_ Payload, err error) {
	s := said{scratch: scratch}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove())
		}
	}()
	for _, one := range c.Commands {
		if err := s.add(ctx, PartCommands, one.Name+".txt", one.output); err != nil {
			return Payload{}, err
		}
	}
	for _, device := range c.Devices {
		if err := s.add(ctx, PartDevices, device.Name+".cfg", device.read); err != nil {
			return Payload{}, err
		}
	}
	p := Payload{At: c.Now(), Lacks: errors.Join(s.problems...), FactsLast: true, Release: sync.OnceValue(s.remove)}
	var tree func(context.Context) ([]Fact, error)
	if len(c.Paths) > 0 {
		if p.Parts, tree, err = c.tree(ctx, scratch); err != nil {
			return Payload{}, err
		}
	}
	p.Parts = append(p.Parts, s.parts()...)
	if len(p.Parts) == 0 {
		return Payload{}, cmp.Or(p.Lacks, errors.New("there is nothing to save: none of the programs is installed"))
	}
	p.Facts = func(ctx context.Context) ([]Fact, error) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if tree == nil {
			return s.facts, nil
		}
		facts, err := tree(ctx)
		return slices.Concat(facts, s.facts), err
	}
	return p, nil
}

// Locations returns the paths themselves: what a program or a device says lies nowhere.
func (c *Config) Locations(ctx context.Context) ([]string, error) {
	if len(c.Paths) == 0 {
		return nil, nil
	}
	return (&Files{Paths: c.Paths, Fstab: c.Fstab, Now: c.Now}).Locations(ctx)
}

// said is what programs and devices have said so far.
type said struct {
	scratch  string
	folders  []string // parts that hold something
	facts    []Fact
	problems []error
}

// A statement is what one program or device says. Comparable, where it is not nil, is
// the same without what changes by itself and yet must be saved. Skipped says why there
// is none.
type statement struct {
	text, comparable []byte
	skipped          string
}

// add asks one program or device and keeps what it says in scratch. The error is only
// for when it could not be kept, or when all is to end.
func (s *said) add(ctx context.Context, part, name string, ask func(context.Context) (statement, error)) error {
	got, err := ask(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		s.problems = append(s.problems, err)
		return nil
	case got.skipped != "":
		s.facts = append(s.facts, Fact{Part: part, Kind: FactSkipped, Of: "/" + part + "/" + name, Value: got.skipped})
		return nil
	}
	folder := filepath.Join(s.scratch, part)
	if !slices.Contains(s.folders, part) {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return scratchError(s.scratch, err)
		}
		s.folders = append(s.folders, part)
	}
	file := filepath.Join(folder, name)
	if err := os.WriteFile(file, got.text, 0o600); err != nil {
		return scratchError(s.scratch, err)
	}
	path := "/" + part + "/" + name
	s.facts = append(s.facts, ofPart(part, fileFacts(path, sumOf(got.text), 0o600))...)
	if got.comparable != nil {
		s.facts = append(s.facts, Fact{Part: part, Kind: FactSettled, Of: path, Value: sumOf(got.comparable)})
	}
	return nil
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// parts are the folders in scratch, saved without the path of scratch, which is another
// one each time.
func (s *said) parts() []Part {
	var all []Part
	for _, part := range s.folders {
		n := 0
		for _, f := range s.facts {
			if f.Part == part && f.Kind == FactSHA256 {
				n++
			}
		}
		s.facts = append(s.facts, Fact{Part: part, Kind: FactFiles, Value: strconv.Itoa(n)})
		all = append(all, Part{Name: part, Paths: []string{part}, Dir: s.scratch})
	}
	return all
}

func (s *said) remove() error {
	var all error
	for _, part := range s.folders {
		all = errors.Join(all, os.RemoveAll(filepath.Join(s.scratch, part)))
	}
	return all
}
