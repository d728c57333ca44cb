package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/disk"
)

// Assertions on what an image is made of. That a kind of file system could not be
// checked is shown and decides nothing.
const (
	nameTable     = "partition table"
	nameSystems   = "file systems"
	nameUnchecked = "file systems not checked"
)

// systemLimit bounds one check of a file system. A check reads all that describes
// files, which takes minutes for each terabyte.
const systemLimit = 2 * time.Hour

// structure looks at what the disk is made of: a second program reads the partition
// table, and each file system is checked by its own one, which writes nothing. A
// program that is missing hides no damage that another one found.
func (i *image) structure(ctx context.Context) error {
	table, err := i.readTable()
	if err != nil {
		return err
	}
	if table.Trouble != "" {
		i.detail("the partition table: %s", table.Trouble) // as on the source, or the facts say so
		return nil
	}
	broken, problem := i.tableAgain(ctx, table)
	sound, checked, unchecked := 0, 0, 0
	for _, p := range table.Partitions {
		check := i.systemCheck(p.System.Type)
		if check == nil {
			unchecked++
			i.detail("partition %d was not checked: it holds %q", p.Number, p.System.Type)
			continue
		}
		checked++
		err := check(ctx, p)
		var found *finding
		var why errUnchecked
		switch {
		case errors.As(err, &why):
			checked, unchecked = checked-1, unchecked+1
			i.detail("partition %d was not checked: %v", p.Number, err)
		case err == nil:
			sound++
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &found):
			broken = true
			i.detail("partition %d: %v", p.Number, err)
		default:
			problem = errors.Join(problem, fmt.Errorf("partition %d: %w", p.Number, err))
		}
	}
	if broken && problem != nil {
		i.detail("%v", problem)
		problem = nil
	}
	if problem != nil {
		return problem
	}
	if checked > 0 {
		i.assert(Assertion{Name: nameSystems, Expected: count(checked, checked) + " sound", Actual: count(sound, checked) + " sound", OK: sound == checked})
	}
	if unchecked > 0 {
		i.assert(Assertion{Name: nameUnchecked, Expected: "0", Actual: strconv.Itoa(unchecked)})
	}
	return nil
}

// readTable reads the partition table of what was restored.
func (i *image) readTable() (disk.Table, error) {
	file, err := os.Open(i.disk.file)
	if err != nil {
		return disk.Table{}, err
	}
	defer file.Close()
	return disk.ReadTable(file, i.size, i.sector())
}

// sector is the size of a sector as the source's partition table counts.
func (i *image) sector() int64 {
	if i.layout != nil {
		return i.layout.Disk.Sector
	}
	for _, f := range i.request.Facts {
		if n, err := strconv.ParseInt(f.Value, 10, 64); f.Kind == sources.FactSector && err == nil {
			return n
		}
	}
	return 512
}

// tableAgain has sfdisk read the table, and compares what it found with what was saved.
func (i *image) tableAgain(ctx context.Context, table disk.Table) (broken bool, err error) {
	if table.Kind == "none" || i.sector() != 512 { // as which sfdisk counts in a file
		return false, nil
	}
	out, err := i.output(ctx, "sfdisk", "--json", i.disk.file)
	if err != nil {
		var exit *command.ExitError
		if !errors.As(err, &exit) || exit.Code != sfdiskRefuses {
			return false, unable("sfdisk", err)
		}
		i.detail("sfdisk: %v", err)
	}
	var said struct {
		Table struct {
			Label      string                        `json:"label"`
			Partitions []struct{ Start, Size int64 } `json:"partitions"`
		} `json:"partitiontable"`
	}
	if err == nil {
		err = json.Unmarshal(out, &said)
	}
	var places []string
	for _, p := range said.Table.Partitions {
		places = append(places, fmt.Sprintf("%d+%d", p.Start*512, p.Size*512))
	}
	want, held := i.savedPartitions(table), 0
	for _, p := range want {
		if slices.Contains(places, fmt.Sprintf("%d+%d", p.Start, p.Size)) {
			held++
		}
	}
	ok := err == nil && said.Table.Label == table.Kind && held == len(want)
	i.assert(Assertion{Name: nameTable, Expected: count(len(want), len(want)) + " partitions", Actual: count(held, len(want)) + " partitions", OK: ok})
	return !ok, nil
}

// sfdiskRefuses is the exit status of sfdisk for a table that it cannot read.
const sfdiskRefuses = 1

// savedPartitions are those that the facts speak of or, without facts, what was found.
func (i *image) savedPartitions(table disk.Table) []disk.Partition {
	var saved []disk.Partition
	for _, f := range i.request.Facts {
		var p disk.Partition
		if f.Kind == sources.FactPartition && json.Unmarshal([]byte(f.Value), &p) == nil {
			saved = append(saved, p)
		}
	}
	if len(saved) == 0 {
		return table.Partitions
	}
	return saved
}

// runCheck runs a program that looks for damage, as the tenant, and tells by its exit
// status whether it found any.
func (i *image) runCheck(ctx context.Context, damaged []int, argv ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, systemLimit, tooLong(argv[0]))
	defer cancel()
	c, err := i.program(argv...)
	if err != nil {
		return err
	}
	said := &logTail{}
	c.Stdout = said
	_, err = command.Run(ctx, c)
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	text := said.text() + exit.Stderr
	if kind, hint, ok := environment(text); ok {
		return fault.New(kind, argv[0], err, hint)
	}
	if strings.Contains(text, "unsupported feature") {
		return fault.New(fault.MissingTool, argv[0], err, "install a newer one: the file system has a feature that it does not know")
	}
	if exit.Signal == 0 && slices.Contains(damaged, exit.Code) {
		return &finding{argv[0], "no errors", "errors", errors.New(lastLines(repairSteps.ReplaceAllString(text, "")))}
	}
	return fault.New(fault.Unknown, argv[0], fmt.Errorf("%w: %s", err, lastLines(text)), "run it by hand on a restored copy")
}

// repairSteps are what xfs_repair says of its own progress.
var repairSteps = regexp.MustCompile(`(?m)^(Phase \d|\s+- |No modify flag).*\n?`)

// unable is the error of a program that could not look, for whatever was in its way.
func unable(name string, err error) error {
	if kind, hint, ok := environment(errorText(err)); ok {
		return fault.New(kind, name, err, hint)
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return fault.New(fault.Unknown, name, err, "run it by hand on a restored copy")
}

func tooLong(name string) error {
	return fault.New(fault.TimedOut, name, fmt.Errorf("over its limit of %s", systemLimit), "see whether the machine is overloaded")
}

// program spells out a program that looks at the disk, run as the tenant.
func (i *image) program(argv ...string) (command.Cmd, error) {
	path, err := command.LookPath(argv[0])
	if err != nil {
		return command.Cmd{}, err
	}
	return i.tenant.command(path, argv[1:]...), nil
}

// output returns what a program says, up to a megabyte.
func (i *image) output(ctx context.Context, argv ...string) ([]byte, error) {
	c, err := i.program(argv...)
	if err != nil {
		return nil, err
	}
	return command.Output(ctx, c, 1<<20)
}

// copyPartition makes a file of a partition, with holes where the disk has some.
func (i *image) copyPartition(ctx context.Context, p disk.Partition) (path string, err error) {
	from, err := os.Open(i.disk.file)
	if err != nil {
		return "", err
	}
	defer from.Close()
	path = filepath.Join(i.tenant.dir, fmt.Sprintf("partition-%d", p.Number))
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", boxError(path, err)
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := errors.Join(to.Truncate(p.Size), i.tenant.give(path)); err != nil {
		return "", err
	}
	for at := p.Start; at < p.End(); {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		data, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= p.End() {
			break
		}
		if err != nil {
			return "", err
		}
		hole, err := from.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return "", err
		}
		const piece = 64 << 20 // so that a cancellation is heard
		at = min(hole, p.End(), data+piece)
		if _, err := io.Copy(io.NewOffsetWriter(to, data-p.Start), io.NewSectionReader(from, data, at-data)); err != nil {
			return "", boxError(path, err)
		}
	}
	return path, nil
}
