package sources

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"saoluu/internal/command"
	"saoluu/sources/disk"
)

// maxLayout bounds what one program may say of a disk, in bytes.
const maxLayout = 32 << 20

// layoutTexts are the programs whose words are kept beside an image: to rebuild a
// disk by hand, and to know what machine it was. What is missing or fails is left out:
// the image holds all of it, but for that of the machine.
func (t *taking) layoutTexts() map[string][]string {
	if t.held != nil {
		return nil // no program here can open its disk
	}
	all := map[string][]string{
		"sfdisk.txt": {"sfdisk", "--dump", t.source.Path},
		"blkid.txt":  {"blkid", "-p", t.source.Path},
	}
	if t.image.Device { // a disk of this machine
		all["lsblk.json"] = []string{"lsblk", "--json", "--bytes", "--output", "NAME,TYPE,SIZE,FSTYPE,UUID,LABEL,PARTUUID,PARTLABEL,MOUNTPOINTS", t.source.Path}
		all["packages.txt"] = []string{"dpkg-query", "--show", "--showformat", "${Package} ${Version} ${db:Status-Status}\n"}
		all["rpm.txt"] = []string{"rpm", "--query", "--all"}
		all["kernel.txt"] = []string{"uname", "-a"}
		all["efibootmgr.txt"] = []string{"efibootmgr", "--verbose"}
	}
	return all
}

// layout writes what is known of the disk into a folder, as texts.
func (t *taking) layout(ctx context.Context, scratch string) (Part, error) {
	dir := filepath.Join(scratch, PartLayout)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return Part{}, scratchError(scratch, err)
	}
	about, err := json.MarshalIndent(struct {
		Path   string     `json:"path"`
		Format string     `json:"format"`
		Size   int64      `json:"size"`
		Sector int64      `json:"sector"`
		Table  disk.Table `json:"table"`
	}{t.image.Path, t.image.Format, t.image.Size, t.image.Sector, t.found.Table}, "", "  ")
	if err != nil {
		return Part{}, err
	}
	texts := map[string][]byte{"disk.json": append(about, '\n')}
	if t.image.Device {
		texts["efivars.txt"] = efiVariables()
	}
	maps.Copy(texts, t.texts)
	programs := t.layoutTexts()
	maps.DeleteFunc(programs, func(name string, _ []string) bool { return len(texts[name]) > 0 })
	return Part{Name: PartLayout, Root: dir}, keepTexts(ctx, dir, programs, texts)
}

// keepTexts writes into a folder what programs say, and further texts. A program that is
// missing or fails is left out.
func keepTexts(ctx context.Context, dir string, programs map[string][]string, texts map[string][]byte) error {
	for name, argv := range programs {
		program, err := command.LookPath(argv[0])
		if err != nil {
			continue
		}
		out, err := command.Output(ctx, command.Cmd{
			Argv: append([]string{program}, argv[1:]...), Env: []string{"PATH=" + plainPath, "LC_ALL=C.UTF-8"},
		}, maxLayout)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && len(out) > 0 {
			texts[name] = out
		}
	}
	for name, text := range texts {
		if len(text) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return scratchError(dir, err)
		}
	}
	return nil
}

// efiVariables lists the names of the firmware's variables; nil on a machine without.
func efiVariables() []byte {
	entries, err := os.ReadDir("/sys/firmware/efi/efivars")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return []byte(strings.Join(names, "\n") + "\n")
}
