package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// PartSystem is the part with the files of a system, named as the system names them. What
// is needed besides to rebuild its disk is in PartLayout, as the package system has it.
const PartSystem = "system"

// FactFileSystem is a kind of fact: type and UUID of what lies on a partition, or a volume
// of LVM in it.
const FactFileSystem = "file system"

// SystemTree is a source of a whole system, file by file: the file systems of its disk
// that are mounted, and what is needed to build a disk from them that boots.
type SystemTree struct {
	// Path is where the root of the system is mounted: "/" for that of this machine.
	Path string
	// Consistency is one of the Consistency… words; empty means offline. With snapshot,
	// snapshots of btrfs and LVM are taken, read and dropped; what boots the system may lie
	// where there are none, and must hold still.
	Consistency string
	// Exclude are restic exclude patterns, of paths as the system names them.
	Exclude []string
	// Skip are folders of this machine that are ours: their content is left out.
	Skip []string
	// FactsMode is ModeSampled (the default) or ModeFull.
	FactsMode string
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source   = (*SystemTree)(nil)
	_ Locator  = (*SystemTree)(nil)
	_ Examiner = (*SystemTree)(nil)
)

// Prepare freezes the system and shows it in a folder. The errors are those of
// system.Look and system.Hold.
func (s *SystemTree) Prepare(ctx context.Context, scratch string) (_ Payload, err error) {
	t := &treeTaking{source: s, scratch: scratch, undo: context.WithoutCancel(ctx)}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.release())
		}
	}()
	looked, err := system.Look(ctx, s.Path)
	if err != nil {
		return Payload{}, err
	}
	t.held, err = looked.Hold(ctx, system.How{Consistency: t.consistency(), Dir: scratch, Volume: t.volume})
	if err != nil {
		return Payload{}, err
	}
	t.at = s.Now()
	if t.clock, err = fileClock(scratch); err != nil {
		return Payload{}, err
	}
	layout := filepath.Join(scratch, PartLayout)
	if err := os.Mkdir(layout, 0o700); err != nil {
		return Payload{}, scratchError(scratch, err)
	}
	lacks, err := t.held.Describe(ctx, layout)
	if err != nil {
		return Payload{}, err
	}
	if err := t.texts(ctx, layout); err != nil {
		return Payload{}, err
	}
	return Payload{
		At: t.at, Lacks: lacks, Facts: t.facts, FactsLast: true, Consistency: t.consistency(), Release: sync.OnceValue(t.release),
		Parts: []Part{
			{Name: PartSystem, Dir: t.held.Tree, Paths: []string{"."}, Exclude: t.exclude()},
			{Name: PartLayout, Root: layout},
		},
	}, nil
}

// Locations returns the root of the system.
func (s *SystemTree) Locations(context.Context) ([]string, error) {
	if _, err := os.Stat(s.Path); err != nil {
		return nil, pathError(s.Path, err)
	}
	return []string{s.Path}, nil
}

// Examine looks at the system and the programs that a run needs, and changes nothing.
func (s *SystemTree) Examine(ctx context.Context) error {
	for name, pack := range map[string]string{"sfdisk": "fdisk", "blkid": "util-linux", "dumpe2fs": "e2fsprogs"} {
		if _, err := command.LookPath(name); err != nil {
			return fault.New(fault.MissingTool, fmt.Sprintf("system %q", s.Path), err, "install the package "+pack)
		}
	}
	looked, err := system.Look(ctx, s.Path)
	if err != nil {
		return err
	}
	return errors.Join(looked.Holdable(cmp.Or(s.Consistency, ConsistencyOffline)), looked.Close())
}

// LeavesOut names what belongs to the system and will not be saved, such as file systems
// of other disks; not where our own targets are.
func (s *SystemTree) LeavesOut(ctx context.Context) ([]string, error) {
	looked, err := system.Look(ctx, s.Path)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, u := range s.foreign(looked) {
		all = append(all, u.What+": "+u.Why)
	}
	return all, looked.Close()
}

// foreign is what a system leaves out and our own targets do not lie on.
func (s *SystemTree) foreign(looked *system.System) []system.Uncovered {
	return slices.DeleteFunc(slices.Clone(looked.Layout.Uncovered), func(u system.Uncovered) bool {
		return u.Why == system.WhyHistory || slices.ContainsFunc(s.Skip, func(path string) bool {
			return slices.ContainsFunc(looked.Inside(path), func(at string) bool { return at == u.What || strings.HasPrefix(at, u.What+"/") })
		})
	})
}

// A treeTaking is one system being taken.
type treeTaking struct {
	source    *SystemTree
	scratch   string
	undo      context.Context // for what is undone at the end, however that comes
	at, clock time.Time
	held      *system.Held
	volumes   []*lvmSnapshot
}

func (t *treeTaking) op() string { return fmt.Sprintf("system %q", t.source.Path) }

func (t *treeTaking) consistency() string {
	return cmp.Or(t.source.Consistency, ConsistencyOffline)
}

// volume takes a snapshot of a volume of LVM.
func (t *treeTaking) volume(ctx context.Context, device string) (string, error) {
	s, path, err := takeSnapshot(ctx, t.op(), t.scratch, device, len(t.volumes))
	if s != nil {
		t.volumes = append(t.volumes, s)
	}
	return path, err
}

// exclude returns what restic leaves out, by the paths at which the system is shown.
func (t *treeTaking) exclude() []string {
	var all []string
	for _, p := range t.source.Exclude {
		rest, back := strings.CutPrefix(strings.TrimSpace(p), "!")
		if rest == "" {
			continue
		}
		if !filepath.IsAbs(rest) {
			rest = "/**/" + rest
		}
		rest = literal(t.held.Tree) + rest
		if back {
			rest = "!" + rest
		}
		all = append(all, rest)
	}
	for _, path := range t.source.Skip {
		for _, at := range t.held.Inside(path) {
			all = append(all, literal(filepath.Join(t.held.Tree, at))+"/*")
		}
	}
	for _, path := range t.held.Left {
		all = append(all, literal(filepath.Join(t.held.Tree, path)))
	}
	for _, file := range t.held.Layout.SwapFiles {
		all = append(all, literal(filepath.Join(t.held.Tree, file.Path)))
	}
	return all
}

// literal writes a path as a pattern that nothing else matches.
func literal(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// texts keeps what programs say of the machine, for people. What is missing or fails is
// left out: no disk is rebuilt from it.
func (t *treeTaking) texts(ctx context.Context, dir string) error {
	root, disk := t.source.Path, t.held.Layout.Disk.Path
	return keepTexts(ctx, dir, map[string][]string{
		"blkid.txt":    {"blkid", "-p", disk},
		"lsblk.json":   {"lsblk", "--json", "--bytes", "--output", "NAME,TYPE,SIZE,FSTYPE,UUID,LABEL,PARTUUID,PARTLABEL,MOUNTPOINTS"},
		"packages.txt": {"dpkg-query", "--admindir", filepath.Join(root, "var/lib/dpkg"), "--show", "--showformat", "${Package} ${Version} ${db:Status-Status}\n"},
		// Not by its --root, which enters that folder: libraries of the system would be loaded from there.
		"rpm.txt":        {"rpm", "--dbpath", filepath.Join(root, "var/lib/rpm"), "--query", "--all"},
		"kernel.txt":     {"uname", "-a"},
		"efibootmgr.txt": {"efibootmgr", "--verbose"},
	}, map[string][]byte{"sfdisk.txt": []byte(t.held.Layout.Disk.Dump), "efivars.txt": efiVariables()})
}

// facts are taken when all was read: only then is it certain what held still.
func (t *treeTaking) facts(ctx context.Context) ([]Fact, error) {
	if err := t.still(ctx); err != nil {
		return nil, fault.New(fault.Failed, t.op(), err, "run it again when nobody installs anything")
	}
	tree := t.held.Tree
	survey := survey{
		files: Files{FactsMode: t.source.FactsMode, Seed: t.at.UTC().Format(time.RFC3339Nano)},
		roots: []string{tree}, exclude: parsePatterns(t.exclude()), before: t.clock,
	}
	facts, err := survey.facts(ctx)
	if err != nil {
		return nil, err
	}
	vital, err := t.vital(ctx, survey)
	if err != nil {
		return nil, err
	}
	facts = ofPart(PartSystem, named(tree, append(vital, facts...)))
	layout, err := layoutFacts(ctx, filepath.Join(t.scratch, PartLayout))
	facts = append(slices.Concat(facts, layout), Fact{PartSystem, FactConsistency, "", t.consistency()})
	for _, u := range t.source.foreign(t.held.System) {
		facts = append(facts, Fact{PartLayout, FactSkipped, u.What, u.Why})
	}
	return facts, err
}

func (t *treeTaking) still(ctx context.Context) error {
	problems := []error{t.held.Still(ctx)}
	for _, v := range t.volumes {
		problems = append(problems, v.whole(ctx))
	}
	return errors.Join(problems...)
}

// vitalFiles are without which no system comes up, or is another one. They are compared
// whatever the sample is.
func vitalFiles() []string {
	return []string{
		"etc/fstab", "etc/passwd", "usr/lib/os-release", "etc/os-release", "boot/vmlinuz*", "boot/initrd*", "boot/initramfs*",
		"boot/grub/grub.cfg", "boot/grub2/grub.cfg", "boot/loader/entries/*", "boot/efi/EFI/*/*",
	}
}

func (t *treeTaking) vital(ctx context.Context, s survey) ([]Fact, error) {
	var chosen []candidate
	for _, pattern := range vitalFiles() {
		found, err := filepath.Glob(literal(t.held.Tree) + "/" + pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if !reached(t.held.Tree, path) {
				continue
			}
			if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && !excluded(s.exclude, path) {
				if c := seen(path, info); c.changed.Before(s.before) {
					chosen = append(chosen, c)
				}
			}
		}
	}
	facts, _, err := hashAll(ctx, chosen)
	return facts, err
}

// reached reports whether a path leads to a file of the tree by no link: one of the system's
// would lead to a file of this machine, which comes back by no restore.
func reached(tree, path string) bool {
	top, err1 := filepath.EvalSymlinks(tree)
	dir, err2 := filepath.EvalSymlinks(filepath.Dir(path))
	rest, err3 := filepath.Rel(tree, filepath.Dir(path))
	return errors.Join(err1, err2, err3) == nil && dir == filepath.Join(top, rest)
}

// named gives facts about files below a folder the names that the system gives them, each
// once.
func named(tree string, facts []Fact) []Fact {
	known := map[Fact]bool{}
	var all []Fact
	for _, f := range facts {
		if path, ok := FactPath(f); ok && f.Of != "" {
			f.Of = pathName(cmp.Or(strings.TrimPrefix(path, tree), "/"))
		}
		if !known[f] {
			known[f] = true
			all = append(all, f)
		}
	}
	return all
}

func (t *treeTaking) release() error {
	if err := t.held.Release(); err != nil {
		return err // a volume that is shown cannot be dropped
	}
	var problems []error
	for _, v := range t.volumes {
		problems = append(problems, v.remove(t.undo))
	}
	t.volumes = nil
	return errors.Join(problems...)
}
