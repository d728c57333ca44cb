package main

import (
	"fmt"
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
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"clock":   clockCommand,
			"corrupt": corruptCommand,
			"waitfor": waitforCommand,
			"pg":      pgCommand,
		},
	})
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
	if err := os.Chmod(env.WorkDir, 0o755); err != nil {
		return err
	}
	return expand(env.WorkDir)
}

// expand puts the work folder's path for $WORK in every TOML file of a script.
func expand(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".toml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "$WORK", dir)), 0o644)
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
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// clock DURATION moves the program's wall clock, for example "clock 72h".
func clockCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: clock DURATION")
	}
	if _, err := time.ParseDuration(args[0]); err != nil {
		ts.Fatalf("clock: %v", err)
	}
	ts.Check(os.WriteFile(ts.Getenv("SAOLUU_TEST_CLOCK"), []byte(args[0]), 0o644))
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
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
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
