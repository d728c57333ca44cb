package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata/script are the manual by example: what a user types,
// run against the real program, restic and servers. The program is built with
// the tag saoluu_testclock, so that scripts can move its clock.
func TestScripts(t *testing.T) {
	bin := buildProgram(t)
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts found: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		Setup:         func(env *testscript.Env) error { return setup(env, bin) },
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Condition:     condition,
		Cmds:          commands(),
	})
}

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){
		"clock": clockCommand, "corrupt": corruptCommand, "waitfor": waitforCommand, "pg": pgCommand, "maria": mariaCommand, "redis": redisCommand,
		"server": serverCommand, "bucket": bucketCommand, "net": netCommand, "disk": diskCommand, "front": frontCommand, "standin": standinCommand, "devices": devicesCommand, "guest": guestCommand,
	}
	maps.Copy(all, moreCommands())
	return all
}

// buildProgram builds saoluu into a folder that goes first on PATH.
func buildProgram(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "saoluu-scripts-") // not t.TempDir: other users must pass through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-tags", "saoluu_testclock", "-o", filepath.Join(dir, "saoluu"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return dir
}

// setup gives every script its own state, clock and the restic of the project.
func setup(env *testscript.Env, bin string) error {
	restic := os.Getenv("SAOLUU_RESTIC")
	if restic == "" {
		abs, err := filepath.Abs("../../bin/restic")
		if err != nil {
			return err
		}
		restic = abs
	}
	env.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("SAOLUU_RESTIC", restic)
	env.Setenv("SAOLUU_CONFIG", filepath.Join(env.WorkDir, "saoluu.toml"))
	env.Setenv("SAOLUU_TEST_CLOCK", filepath.Join(env.WorkDir, ".clock"))
	env.Setenv("NO_COLOR", "1")
	env.Values[processesKey{}] = processes{}
	env.Values[serversKey{}] = servers{}
	env.Values[frontKey{}] = &front{}
	env.Values[guestKey{}] = &guestMachine{}
	env.Values[mariaKey{}] = &mariaServer{}
	env.Values[redisKey{}] = &redisServer{}
	// Other users must pass through: servers run unprivileged.
	for _, dir := range []string{env.WorkDir, filepath.Dir(env.WorkDir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	if err := furnish(env.WorkDir); err != nil {
		return err
	}
	return expand(env.WorkDir, restic)
}

// furnish adds the files of testdata/site that a script does not bring itself.
func furnish(dir string) error {
	const site = "testdata/site"
	return filepath.WalkDir(site, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, site))
		if _, err := os.Stat(to); err == nil {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
}

// expand puts the real paths for $WORK, $SAOLUU_RESTIC and $PGBIN in every TOML
// file of a script and in its stand-in programs, which lie in folders called
// "tools".
func expand(dir, restic string) error {
	pg, err := pgBin()
	if err != nil {
		pg = "/nonexistent" // scripts that need it have the condition [postgres]
	}
	paths := strings.NewReplacer("$WORK", dir, "$SAOLUU_RESTIC", restic, "$PGBIN", pg)
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		mode := os.FileMode(0o644)
		switch {
		case filepath.Base(filepath.Dir(path)) == "tools":
			mode = 0o755
		case filepath.Ext(path) != ".toml":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(paths.Replace(string(text))), mode); err != nil {
			return err
		}
		return os.Chmod(path, mode)
	})
}

// condition offers [root] to scripts, besides the usual ones.
func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "postgres":
		_, err := pgBin()
		return err == nil, nil
	case "mariadb":
		return mariaMissing() == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// clock DURATION moves the program's wall clock that far from the real one, for
// example "clock 72h"; clock TIME (RFC 3339) sets it, and it goes on from there.
func clockCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: clock DURATION | clock TIME")
	}
	offset, err := time.ParseDuration(args[0])
	if at, notTime := time.Parse(time.RFC3339, args[0]); notTime == nil {
		offset, err = time.Until(at), nil
	}
	ts.Check(err)
	// Under another name first: the program may read it at any moment.
	file := ts.Getenv("SAOLUU_TEST_CLOCK")
	ts.Check(os.WriteFile(file+".new", []byte(offset.String()), 0o644))
	ts.Check(os.Rename(file+".new", file))
}

// corrupt GLOB [OFFSET] flips 64 bytes in the largest file that matches, as a
// failing disk would.
func corruptCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: corrupt GLOB [OFFSET]")
	}
	matches, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	name, largest := "", int64(-1)
	for _, m := range matches {
		if info, err := os.Stat(m); err == nil && info.Mode().IsRegular() && info.Size() > largest {
			name, largest = m, info.Size()
		}
	}
	if name == "" {
		ts.Fatalf("corrupt: nothing matches %s", args[0])
	}
	offset := largest / 2
	if len(args) == 2 {
		offset, err = strconv.ParseInt(args[1], 10, 64)
		ts.Check(err)
	}
	ts.Check(os.Chmod(name, 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	b := make([]byte, 64)
	n, err := f.ReadAt(b, offset)
	if n == 0 {
		ts.Check(err)
	}
	for i := range b[:n] {
		b[i] ^= 0xff
	}
	_, err = f.WriteAt(b[:n], offset)
	ts.Check(err)
}

// waitfor GLOB waits until a file matches; waitfor GLOB TEXT until one contains
// the text. With ! it waits until none does. It gives up after 60 s.
func waitforCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: waitfor GLOB [TEXT]")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if found(ts, args) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waitfor %s: not within a minute", strings.Join(args, " "))
		}
	}
}

func found(ts *testscript.TestScript, args []string) bool {
	matches, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(args) == 1 {
		return len(matches) > 0
	}
	for _, m := range matches {
		if text, err := os.ReadFile(m); err == nil && strings.Contains(string(text), args[1]) {
			return true
		}
	}
	return false
}
