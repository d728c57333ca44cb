package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/targets"
)

// placeKey measures how far the clear key of a target lies from its repository, and
// whether others than the owner of its file can read it, and records what differs
// from the last measure: who takes the storage away must not get the key with it
// (39/2024/QĐ-UBND, Điều 16 khoản 1 điểm a).
func (r *Runner) placeKey(ctx context.Context, p place) error {
	state, err := r.Catalog.TargetState(ctx, p.name)
	if err != nil || state.Repository == "" {
		return err
	}
	known, err := r.Catalog.KeyStates(ctx, r.Now())
	if err != nil {
		return err
	}
	measured := catalog.KeyPlaced{Target: p.name, Repository: state.Repository}
	var private []string
	measured.From, private = r.keyFiles(p.name)
	if measured.Exposed, err = readable(private); err != nil {
		return fault.New(fault.Unknown, fmt.Sprintf("look at the key files of %q", p.name), err, "check paths.state and targets."+p.name+".password")
	}
	// The daemon's own key opens the repository too, and lies in the folder of keys.
	measured.Separation = keyDistance(ctx, p, measured.From, append(private, StatePath(r.Config, "keys")))
	if last := known[p.name].Placed; reflect.DeepEqual(last.Event, measured) {
		return nil
	}
	_, err = r.Catalog.Append(ctx, measured)
	return err
}

// keyFiles says where the key of a target comes from, and which files hold it or
// open it. For a credential there is none that can be seen.
func (r *Runner) keyFiles(name string) (from string, files []string) {
	scheme, path, _ := strings.Cut(string(r.Config.Targets[name].Password), ":")
	switch scheme {
	case "":
		return catalog.KeyFromState, []string{r.keyPath(name)}
	case "credential":
		return catalog.KeyFromCredential, nil
	case "age":
		return catalog.KeyFromAge, []string{r.Config.Paths.Identity}
	}
	return catalog.KeyFromFile, []string{path}
}

// readable reports whether others than the owner may read one of the files.
func readable(files []string) (bool, error) {
	for _, file := range files {
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // what is not there cannot be read; that it is needed is told elsewhere
		}
		if err != nil {
			return false, err
		}
		if info.Mode().Perm()&0o077 != 0 {
			return true, nil
		}
	}
	return false, nil
}

// keyDistance is the distance of the nearest of the files from the repository. What
// cannot be measured is recorded as unknown, not as far.
func keyDistance(ctx context.Context, p place, from string, files []string) *catalog.Separation {
	measurer, can := p.target.(targets.Measurer)
	if !can {
		return &catalog.Separation{Unknown: true, How: "this kind of target cannot be measured"}
	}
	s, err := measurer.Separation(ctx, files)
	if err != nil {
		return &catalog.Separation{Unknown: true, How: fault.Public(err)}
	}
	if from == catalog.KeyFromCredential && s.Level > 0 && s.Level < targets.LevelOtherHost {
		s.Unknown, s.How = true, "where the credential lies at rest cannot be seen; the folder of keys: "+s.How
	}
	return &catalog.Separation{Level: s.Level, How: s.How, Domain: s.Domain, Declared: s.Declared, Unknown: s.Unknown}
}
