package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	const (
		passA    = `{"Action":"pass","Package":"saoluu/catalog","Test":"TestA","Elapsed":0.1}` + "\n"
		passPkg  = `{"Action":"pass","Package":"saoluu/catalog","Elapsed":0.2}` + "\n"
		skipB    = `{"Action":"output","Package":"saoluu/catalog","Test":"TestB","Output":"    b_test.go:9: no postgres\n"}` + "\n" + `{"Action":"skip","Package":"saoluu/catalog","Test":"TestB"}` + "\n"
		failC    = `{"Action":"output","Package":"saoluu/catalog","Test":"TestC","Output":"    got 1, want 2\n"}` + "\n" + `{"Action":"fail","Package":"saoluu/catalog","Test":"TestC"}` + "\n"
		failPkg  = `{"Action":"fail","Package":"saoluu/catalog","Elapsed":0.2}` + "\n"
		noBuild  = `{"ImportPath":"saoluu/jobs","Action":"build-output","Output":"jobs/a.go:1: broken\n"}` + "\n" + `{"Action":"fail","Package":"saoluu/jobs","FailedBuild":"saoluu/jobs"}` + "\n"
		deadlock = `{"Action":"output","Package":"saoluu/jobs","Output":"panic: test timed out\n"}` + "\n" + `{"Action":"fail","Package":"saoluu/jobs"}` + "\n"
	)
	tests := []struct {
		name, in, must string
		ok             bool
		want           []string // in the output, in this order; the last ends it
	}{
		{"all good", passA + passPkg, "catalog TestA\n", true, []string{"ok     catalog", "1 passed, 0 failed, 0 skipped\n"}},
		{"a skip is shown with its reason", passA + skipB + passPkg, "catalog TestA", true, []string{"skipped catalog TestB: b_test.go:9: no postgres", "1 passed, 0 failed, 1 skipped\n"}},
		{"a required test was skipped", passA + skipB + passPkg, "catalog TestB # needs a server", false, []string{"catalog TestB was skipped and must run", "1 passed, 1 failed, 1 skipped\n"}},
		{"a required test did not run", passA + passPkg, "catalog TestGone", false, []string{"catalog TestGone did not run and must", "1 passed, 1 failed, 0 skipped\n"}},
		{"a failure shows what it printed", passA + failC + failPkg, "catalog TestA", false, []string{"FAILED catalog TestC\n    got 1, want 2", "1 passed, 1 failed, 0 skipped\n"}},
		{"a package that does not build", passA + passPkg + noBuild, "catalog TestA", false, []string{"jobs/a.go:1: broken", "FAILED jobs outside any test", "1 passed, 1 failed, 0 skipped\n"}},
		{"a package out of time", passA + passPkg + deadlock, "catalog TestA", false, []string{"FAILED jobs outside any test\npanic: test timed out", "1 passed, 1 failed, 0 skipped\n"}},
		{"a line that is no event", "go: no such module\n", "catalog TestA", false, []string{"go: no such module", "0 passed, 1 failed, 0 skipped\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must := filepath.Join(t.TempDir(), "must")
			if err := os.WriteFile(must, []byte(tt.must), 0o600); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			ok, err := run(strings.NewReader(tt.in), &out, must, 0)
			if err != nil {
				t.Fatal(err)
			}
			if ok != tt.ok {
				t.Errorf("ok = %v, want %v", ok, tt.ok)
			}
			rest := out.String()
			for _, want := range tt.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("output\n%s\nhas no %q in its place", out.String(), want)
				}
				rest = after
			}
			if last := tt.want[len(tt.want)-1]; !strings.HasSuffix(out.String(), last) {
				t.Errorf("output does not end with %q:\n%s", last, out.String())
			}
		})
	}
}

// Nothing that ran is not a success, whatever the list says.
func TestRunNothing(t *testing.T) {
	var out strings.Builder
	ok, err := run(strings.NewReader(""), &out, "", 0)
	if err != nil || ok {
		t.Errorf("run of nothing: ok = %v, error %v; want false and none", ok, err)
	}
}

func TestReadRequired(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "catalog\n", "catalog TestA TestB\n"} {
		path := filepath.Join(t.TempDir(), "must")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readRequired(path); err == nil {
			t.Errorf("list %q was accepted as %v", text, got)
		}
	}
	if _, err := readRequired(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent list was accepted")
	}
}

// A check that failed before the tests is in the last line.
func TestRunChecks(t *testing.T) {
	var out strings.Builder
	pass := `{"Action":"pass","Package":"saoluu/catalog","Test":"TestA"}` + "\n"
	ok, err := run(strings.NewReader(pass), &out, "", 2)
	if want := "1 passed, 2 failed, 0 skipped\n"; err != nil || ok || out.String() != want {
		t.Errorf("run = %v, %v, output %q; want false and %q", ok, err, out.String(), want)
	}
}
