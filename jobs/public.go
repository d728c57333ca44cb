package jobs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"saoluu/config"
	"saoluu/internal/fault"
)

// public returns the text of an error as it may stand in the ledger and in
// evidence: kinds and numbers, but no path of the job's data. The whole text goes
// to whoever started the run, and to the daemon's log.
func (r *Runner) public(job config.Job, err error) string {
	return r.hidePaths(job, fault.Public(err))
}

// hidePaths puts words for the paths of a job's data, and of copies of them.
func (r *Runner) hidePaths(job config.Job, text string) string {
	text = hidePath(text, r.Config.Paths.Scratch, "<scratch>")
	for i, path := range job.Source.Paths {
		text = hidePath(text, path, fmt.Sprintf("<source path %d>", i+1))
	}
	path := job.Source.Path
	if i := strings.IndexAny(path, "*?[\\"); i >= 0 {
		path = filepath.Dir(path[:i] + "x") // a pattern: what lies where it begins
	}
	return hidePath(text, path, "<source path>")
}

// hidePath puts words for a path, and for everything that lies below it: up to
// the quote that closes it, else up to the white space or colon that follows.
func hidePath(text, path, words string) string {
	roots := []string{filepath.Clean(path)}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		roots = append(roots, real)
	}
	slices.Sort(roots)
	for _, root := range slices.Backward(slices.Compact(roots)) {
		if root == "/" || !filepath.IsAbs(root) {
			continue
		}
		at := regexp.QuoteMeta(root)
		text = regexp.MustCompile(`"`+at+`(/[^"]*)?"`).ReplaceAllLiteralString(text, words)
		text = regexp.MustCompile(at+`(/[^\s":,;]*)?`).ReplaceAllLiteralString(text, words)
	}
	return text
}
