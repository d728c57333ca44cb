package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// standin PROGRAM... puts programs that cannot be had, played by e2e/standin, into the
// script's folder standin/bin and that first on PATH. What their servers hold is in
// standin/bin/servers, where $WORK stands for the script's folder.
func standinCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: standin PROGRAM...")
	}
	bin := ts.MkAbs("standin/bin")
	servers, err := filepath.Glob(filepath.Join(bin, "servers", "*.json"))
	ts.Check(err)
	for _, file := range servers {
		text := strings.ReplaceAll(ts.ReadFile(file), "$WORK", ts.Getenv("WORK"))
		ts.Check(os.WriteFile(file, []byte(text), 0o644))
	}
	built := filepath.Join(bin, "standin")
	build := exec.Command("go", "build", "-o", built, "saoluu/e2e/standin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("build the stand-ins: %v\n%s", err, out)
	}
	for _, name := range args {
		ts.Check(os.Link(built, filepath.Join(bin, name)))
	}
	ts.Setenv("PATH", bin+string(filepath.ListSeparator)+ts.Getenv("PATH"))
}

// The programs that the how-to gives are those that the scripts run, but for what is
// different on every site: lines that name a place or who connects.
func TestRecipes(t *testing.T) {
	page, err := os.ReadFile("../../docs/how-to/other-databases.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"sqlserver", "oracle"} {
		script, err := os.ReadFile("testdata/script/" + engine + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		_, program, _ := strings.Cut(string(script), "-- tools/kiem-thu-"+engine+" --\n")
		program, _, found := strings.Cut(program, "\n-- ")
		rest, compared := string(page), 0
		for line := range strings.Lines(program + "\n") {
			if strings.Contains(line, "$WORK") || strings.HasPrefix(line, "ben_kia=") || strings.HasPrefix(line, "vao=") {
				continue
			}
			_, after, there := strings.Cut(rest, line)
			if !there {
				t.Errorf("%s: the how-to lacks, or has elsewhere: %s", engine, line)
				break
			}
			rest, compared = after, compared+1
		}
		if !found || compared < 8 {
			t.Errorf("%s: only %d lines were compared", engine, compared)
		}
	}
}
