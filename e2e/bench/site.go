package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"saoluu/internal/command"
)

// A site is one configuration of saoluu with its state.
type site struct {
	program string
	dir     string
	repo    repository
	second  repository // another target of every job; its zero value stands for none
}

// A job is what a configuration says of a job; source is TOML.
type job struct{ name, source string }

func filesJob(i int, path string) job {
	return job{fmt.Sprintf("job-%04d", i), fmt.Sprintf("{ type = \"files\", paths = [%q] }", path)}
}

// newSite writes a configuration and prepares the site. The repository is there
// already and is adopted, so that its key costs what that of the bare side does.
func (b *bench) newSite(ctx context.Context, name string, repo repository, parallel int, jobs []job) (site, error) {
	return b.newSiteOf(ctx, name, repo, repository{}, parallel, jobs)
}

// newSiteOf is newSite with a second target.
func (b *bench) newSiteOf(ctx context.Context, name string, repo, second repository, parallel int, jobs []job) (site, error) {
	s := site{program: filepath.Join(b.root, "bin", "saoluu"), dir: filepath.Join(b.dir, name), repo: repo, second: second}
	if err := os.RemoveAll(s.dir); err != nil {
		return s, err
	}
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return s, err
	}
	if err := s.configure(parallel, "daily at 01:00", jobs); err != nil {
		return s, err
	}
	_, err := command.Run(ctx, s.command("init"))
	return s, err
}

// configure writes the configuration.
func (s site) configure(parallel int, schedule string, jobs []job) error {
	var t strings.Builder
	fmt.Fprintf(&t, `[site]
name = "Measured"
code = "BENCH"
level = 1
zone = "standalone"
packs = ["HD39"]
[paths]
state = %q
scratch = %q
[engine]
restic = %q
[classes.k]
keep_min = "1y"
keep_max = "5y"
[targets.nas]
type = "local"
path = %q
password = "file:%s"
parallel = %d
reserve = "1MiB"
`, filepath.Join(s.dir, "state"), filepath.Join(s.dir, "scratch"), s.repo.program, s.repo.path, s.repo.password, parallel)
	targets := `"nas"`
	if s.second.path != "" {
		targets += `, "second"`
		fmt.Fprintf(&t, "[targets.second]\ntype = \"local\"\npath = %q\npassword = \"file:%s\"\nparallel = %d\nreserve = \"1MiB\"\n", s.second.path, s.second.password, parallel)
	}
	for _, j := range jobs {
		fmt.Fprintf(&t, `[jobs.%s]
category = "config"
importance = "low"
secrecy = "none"
class = "k"
schedule = %q
targets = [%s]
source = %s
`, j.name, schedule, targets, j.source)
	}
	return os.WriteFile(filepath.Join(s.dir, "saoluu.toml"), []byte(t.String()), 0o600)
}

// command is one call of saoluu.
func (s site) command(args ...string) command.Cmd {
	return command.Cmd{
		Argv: append([]string{s.program, "--config", filepath.Join(s.dir, "saoluu.toml")}, args...),
		Env:  []string{minimalPath, "HOME=" + s.dir},
	}
}
