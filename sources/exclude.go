package sources

import (
	"path/filepath"
	"slices"
	"strings"
)

// A pattern is one restic exclude pattern, cut at its slashes.
type pattern struct {
	rooted bool // starts at the root of the file system
	parts  []string
}

// parsePatterns reads exclude patterns for the choice of facts. It errs on the
// side of leaving a file out, since a fact about a file that restic did not save
// would make a healthy backup look damaged: a pattern that takes exclusions back
// ("!…") is ignored, and one that is not well formed matches everything it might.
func parsePatterns(text []string) []pattern {
	var all []pattern
	for _, t := range text {
		t = strings.TrimSpace(t)
		if t == "" || strings.HasPrefix(t, "!") {
			continue
		}
		clean := filepath.Clean(t)
		p := pattern{rooted: filepath.IsAbs(clean), parts: strings.Split(strings.TrimPrefix(clean, "/"), "/")}
		all = append(all, p)
	}
	return all
}

// Excluded reports whether restic exclude patterns cover a path, or may.
func Excluded(patterns []string, path string) bool { return excluded(parsePatterns(patterns), path) }

// excluded reports whether a pattern covers path or a folder it lies in: a
// pattern with a leading slash from the root on, any other from any folder on.
func excluded(patterns []pattern, path string) bool {
	if len(patterns) == 0 {
		return false
	}
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	return slices.ContainsFunc(patterns, func(p pattern) bool {
		starts := len(names)
		if p.rooted {
			starts = 1
		}
		for i := range starts {
			if covers(p.parts, names[i:]) {
				return true
			}
		}
		return false
	})
}

// covers reports whether the pattern's parts match the first names, one by one;
// "**" stands for any number of names.
func covers(parts, names []string) bool {
	switch {
	case len(parts) == 0:
		return true
	case parts[0] == "**":
		for i := range len(names) + 1 {
			if covers(parts[1:], names[i:]) {
				return true
			}
		}
		return false
	case len(names) == 0:
		return false
	}
	ok, err := filepath.Match(parts[0], names[0])
	return (ok || err != nil) && covers(parts[1:], names[1:])
}
