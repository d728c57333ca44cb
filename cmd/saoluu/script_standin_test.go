package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

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
