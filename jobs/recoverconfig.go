package jobs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"saoluu/config"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// layConfig writes the configuration that came back, changed to its new place: the
// state lies in the new folder, opened keys are named, and the target it came from
// is where it was found. The operator's own text is kept when these can be set in
// it; else it is written anew.
func (r *Runner) layConfig(q Recovery, from string, back *Returned) error {
	const op = "bring the configuration back"
	files, err := config.Files(filepath.Join(from, selfMain))
	if err != nil {
		return err
	}
	was, err := config.Load(config.Options{File: filepath.Join(from, selfMain)})
	if err != nil {
		return fault.New(fault.Failed, op, err, "")
	}
	edits := r.edits(q, was, *back)
	for _, name := range sortedNames(files) {
		text := files[name]
		for _, e := range edits {
			text = e.apply(text)
		}
		if err := writeConfig(filepath.Join(q.To, name), text); err != nil {
			return err
		}
	}
	if r.asWanted(q, *back) {
		return nil
	}
	main := filepath.Join(q.To, selfMain)
	if _, stated := was.Targets[back.Target]; stated && !slices.ContainsFunc(edits, func(e edit) bool { return e.table == "paths" && e.seen(files) }) {
		// Without a table of paths one is put at the end.
		text, err := os.ReadFile(main)
		if err != nil {
			return err
		}
		text = append(text, fmt.Sprintf("\n[paths]\nstate = %s\n", strconv.Quote(r.Config.Paths.State))...)
		if err := writeConfig(main, text); err != nil {
			return err
		}
		if r.asWanted(q, *back) {
			return nil
		}
	}
	return r.anew(q, was, back)
}

// An edit sets a key of a table, in the ordinary form of both. The empty value
// takes the key out.
type edit struct{ table, key, value string }

func (r *Runner) edits(q Recovery, was *config.Config, back Returned) []edit {
	edits := []edit{{"paths", "state", r.Config.Paths.State}, {"paths", "scratch", ""}}
	for _, name := range back.Opened {
		if t, is := was.Targets[name]; is && t.Password != "" {
			edits = append(edits, edit{"targets." + name, "password", "file:" + r.keyPath(name)})
		}
	}
	if q.From.Type == "local" && was.Targets[back.Target].Type == "local" {
		edits = append(edits, edit{"targets." + back.Target, "path", q.From.Path})
	}
	return edits
}

var header = regexp.MustCompile(`^\s*\[([^\[\]]+)\]\s*(#.*)?$`)

func (e edit) apply(text []byte) []byte {
	lines := strings.Split(string(text), "\n")
	key := regexp.MustCompile(`^\s*` + regexp.QuoteMeta(e.key) + `\s*=`)
	table, at, done := "", -1, false
	for i, line := range lines {
		if m := header.FindStringSubmatch(line); m != nil {
			table = strings.ReplaceAll(strings.TrimSpace(m[1]), `"`, "")
			if table == e.table {
				at = i
			}
			continue
		}
		if table == e.table && key.MatchString(line) {
			if e.value == "" {
				lines[i] = "# " + line
			} else {
				lines[i] = e.key + " = " + strconv.Quote(e.value)
			}
			done = true
		}
	}
	if !done && at >= 0 && e.value != "" {
		lines = slices.Insert(lines, at+1, e.key+" = "+strconv.Quote(e.value))
	}
	return []byte(strings.Join(lines, "\n"))
}

// seen reports whether any file has the table in its ordinary form.
func (e edit) seen(files map[string][]byte) bool {
	for _, text := range files {
		for line := range strings.SplitSeq(string(text), "\n") {
			if m := header.FindStringSubmatch(line); m != nil && strings.TrimSpace(m[1]) == e.table {
				return true
			}
		}
	}
	return false
}

// asWanted reports whether the configuration as written loads and says what it
// should.
func (r *Runner) asWanted(q Recovery, back Returned) bool {
	is, err := config.Load(config.Options{File: filepath.Join(q.To, selfMain)})
	if err != nil || is.Paths.State != r.Config.Paths.State || is.Paths.Scratch != r.Config.Paths.Scratch {
		return false
	}
	for _, name := range back.Opened {
		if t, there := is.Targets[name]; there && t.Password != "" && t.Password != config.Secret("file:"+r.keyPath(name)) {
			return false
		}
	}
	return q.From.Type != "local" || is.Targets[back.Target].Type != "local" || is.Targets[back.Target].Path == q.From.Path
}

// anew writes the configuration as one file with everything spelled out.
func (r *Runner) anew(q Recovery, was *config.Config, back *Returned) error {
	was.Paths.State, was.Paths.Scratch = r.Config.Paths.State, r.Config.Paths.Scratch
	for _, name := range back.Opened {
		if t, is := was.Targets[name]; is && t.Password != "" {
			t.Password = config.Secret("file:" + r.keyPath(name))
			was.Targets[name] = t
		}
	}
	if t := was.Targets[back.Target]; q.From.Type == "local" && t.Type == "local" {
		t.Path = q.From.Path
		was.Targets[back.Target] = t
	}
	text, err := config.Show(was)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(q.To, "conf.d")); err != nil {
		return err
	}
	if err := writeConfig(filepath.Join(q.To, selfMain), text); err != nil {
		return err
	}
	if !r.asWanted(q, *back) {
		return fault.New(fault.Failed, "bring the configuration back", errors.New("it cannot be changed to its new place"), "")
	}
	return nil
}

func writeConfig(path string, text []byte) error {
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, text, fs.FileMode(0o640))
}
