package inside

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"saoluu/internal/fault"
)

// Whole stands for all that could be known of a system.
const Whole = "system"

// What is known of a system without having been asked for, by these names.
const (
	Release  = "os-release"
	Hostname = "hostname"
	Fstab    = "fstab"   // the digest of its text
	Kernels  = "kernels" // names of the files, with spaces between them
)

// Known is what could be read of the system on a disk.
type Known struct {
	System *System           // nil: none was found
	Values map[string]string // by the names above
	// Files are the SHA-256 of the files asked for, in hexadecimal; or "not there", or
	// "not a regular file".
	Files map[string]string
	// Skipped says why something could not be read: by the names above, the names of
	// files, or Whole.
	Skipped map[string]error
}

// NotThere and NotRegular stand for the digest of what has none.
const (
	NotThere   = "not there"
	NotRegular = "not a regular file"
)

// Know reads what is true of the system on a disk, and of some files. The error is that
// of a context which ended.
func (d *Disk) Know(ctx context.Context, files []string) (Known, error) {
	k := Known{Values: map[string]string{}, Files: map[string]string{}, Skipped: map[string]error{}}
	var err error
	if k.System, err = d.System(ctx); err != nil {
		k.Skipped[Whole] = err
	}
	asks := map[string]func(context.Context) (string, error){
		Hostname: func(ctx context.Context) (string, error) { return d.line(ctx, k.System, "/etc/hostname") },
		Kernels:  func(ctx context.Context) (string, error) { return d.kernels(ctx, k.System) },
	}
	if k.System != nil {
		k.Values[Release] = k.System.Release
		if k.System.Fstab != "" {
			k.Values[Fstab] = digest(k.System.Fstab)
		}
		for name, ask := range asks {
			value, err := ask(ctx)
			if err != nil {
				k.Skipped[name] = err
			} else if value != "" {
				k.Values[name] = value
			}
		}
	}
	for _, name := range files {
		if k.Files[name], err = d.Digest(ctx, k.System, name); err != nil {
			delete(k.Files, name)
			k.Skipped[name] = err
		}
	}
	if ctx.Err() != nil {
		return Known{}, context.Cause(ctx)
	}
	return k, nil
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Digest is the SHA-256 of a file of the system, NotThere or NotRegular.
func (d *Disk) Digest(ctx context.Context, s *System, name string) (string, error) {
	v, f, err := d.Locate(ctx, s, name)
	switch {
	case err != nil:
		return "", err
	case f.Kind == "":
		return NotThere, nil
	case f.Kind != Regular:
		return NotRegular, nil
	}
	sum := sha256.New()
	if err := v.Read(ctx, sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// line is the first line of a small file; "" when it is not there.
func (d *Disk) line(ctx context.Context, s *System, name string) (string, error) {
	v, f, err := d.Locate(ctx, s, name)
	if err != nil || f.Kind != Regular {
		return "", err
	}
	text := &limited{left: 256}
	err = v.Read(ctx, text, f)
	first, _, _ := strings.Cut(strings.TrimSpace(text.String()), "\n")
	return strings.ToValidUTF8(first, "\uFFFD"), err
}

// kernels are the files that boot loaders start, where they look for them.
func (d *Disk) kernels(ctx context.Context, s *System) (string, error) {
	var problems error
	for _, dir := range []string{"/boot", "/"} {
		v, f, err := d.Locate(ctx, s, dir)
		if err != nil || f.Kind != Directory {
			problems = errors.Join(problems, err)
			continue
		}
		names, err := v.List(ctx, f.Path)
		problems = errors.Join(problems, err)
		names = slices.DeleteFunc(names, func(n string) bool {
			return !strings.HasPrefix(n, "vmlinu") && !strings.HasPrefix(n, "bzImage") && !strings.HasPrefix(n, "kernel-")
		})
		if len(names) > 0 {
			slices.Sort(names)
			return strings.Join(names, " "), nil
		}
	}
	if problems != nil {
		return "", fault.New(fault.KindOf(problems), "look for kernels", problems, fault.HintOf(problems))
	}
	return "", nil
}

// maxPackages bounds what is read of a database of packages, in bytes.
const maxPackages = 64 << 20

// Packages lists what is installed on the system by dpkg, a line each: name, version,
// state. It is empty where there is no dpkg.
func (d *Disk) Packages(ctx context.Context, s *System) (string, error) {
	v, f, err := d.Locate(ctx, s, "/var/lib/dpkg/status")
	if err != nil || f.Kind != Regular {
		return "", err
	}
	text := &limited{left: maxPackages}
	if err := v.Read(ctx, text, f); err != nil {
		return "", err
	}
	var all strings.Builder
	for about := range strings.SplitSeq(text.String(), "\n\n") {
		fields := map[string]string{}
		for line := range strings.Lines(about) {
			if key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ": "); ok && !strings.HasPrefix(line, " ") {
				fields[key] = value
			}
		}
		if state := strings.Fields(fields["Status"]); fields["Package"] != "" && len(state) == 3 {
			fmt.Fprintln(&all, fields["Package"], fields["Version"], state[2])
		}
	}
	return all.String(), nil
}
