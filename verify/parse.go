package verify

import (
	"context"
	"fmt"
	"os"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// parse has the parser of a service read a restored configuration.
func (f *files) parse(ctx context.Context, c Check, a *Assertion) error {
	p, known := parserOf(c.Parse, c.ParsePath)
	if !known {
		return fault.New(fault.Usage, opParse, fmt.Errorf("there is no parser %q", c.Parse), "use one of: "+strings.Join(Parsers(), ", "))
	}
	path := c.ParsePath
	if path == "" {
		path = p.path
	}
	a.Expected, a.Actual = "no error", "not there"
	file, err := f.find(path)
	if err == nil && file == nil {
		f.detail("%s: %s is not among what was restored", a.Name, path)
	}
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	switch {
	case err != nil:
		return err
	case !st.Mode().IsRegular():
		a.Actual = "not a regular file"
		return nil
	case st.Size() == 0: // most services take it for a good one
		a.Actual = "an empty file"
		return nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd())) // find opened only the name
	if err != nil {
		return err
	}
	if p.syntax == nil {
		if err := f.parseBy(ctx, p, path, a); err != nil || !a.OK {
			return err
		}
		if missing := f.outside(p, path, text); missing != "" {
			a.OK, a.Actual = false, "it reads more than was saved"
			return fault.New(fault.Unknown, opParse, fmt.Errorf("%s reads %s, which the job does not save, and passes over it silently", p.program, missing),
				"add it to the job's paths")
		}
		return nil
	}
	if err := p.syntax(text); err != nil {
		a.Actual = "an error"
		f.detail("%s: %s: %v", a.Name, path, err)
		return nil
	}
	a.OK, a.Actual = true, "no error"
	return nil
}

// drift says how far the files of this machine are from those that were restored, as they
// are now: no fault of the backup, and worth a look. On another machine than theirs it
// says how much would change.
func (x *examination) drift(ctx context.Context, want []sources.Fact) error {
	var lived []sources.Fact
	for _, f := range want {
		if f.Part == sources.PartPaths && f.Kind == sources.FactSHA256 {
			lived = append(lived, f)
		}
	}
	if len(lived) == 0 {
		return nil
	}
	now, err := sources.TreeFacts(ctx, "/", lived)
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		x.detail("%s: the live files could not be compared: %v", nameDrift, err)
		return nil
	}
	for _, t := range sources.Compare(lived, now) {
		if t.Kind == sources.FactSHA256 {
			x.assert(Assertion{Name: nameDrift, Expected: count(t.Of, t.Of) + " files as on this machine", Actual: count(t.Held, t.Of), OK: true})
		}
	}
	return nil
}
