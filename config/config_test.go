package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"saoluu/internal/fault"
)

var update = flag.Bool("update", false, "rewrite golden and generated files")

// samples lists the samples of a folder: files, and folders that hold a
// saoluu.toml and a conf.d.
func samples(t *testing.T, pattern string) []string {
	t.Helper()
	var all []string
	for _, p := range []string{pattern + "/*.toml", pattern + "/*/saoluu.toml"} {
		found, err := filepath.Glob(p)
		if err != nil || len(found) == 0 {
			t.Fatalf("no samples in %s: %v", p, err)
		}
		all = append(all, found...)
	}
	return all
}

// location compares time zones by name.
var location = cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })

func TestValidSamplesLoad(t *testing.T) {
	for _, file := range samples(t, "testdata/valid") {
		t.Run(file, func(t *testing.T) {
			c, err := Load(Options{File: file, Packs: []string{"HD39", "BP29", "policy"}})
			if err != nil {
				t.Fatal(err)
			}
			showsAndLoadsAgain(t, c)
		})
	}
}

// showsAndLoadsAgain checks that what Show writes is the same configuration.
func showsAndLoadsAgain(t *testing.T, c *Config) {
	t.Helper()
	text, err := Show(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("shown", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(c, again, location); diff != "" {
		t.Errorf("shown and loaded again (-want +got):\n%s\n%s", diff, text)
	}
}

func TestInvalidSamplesSayWhatIsWrong(t *testing.T) {
	all := samples(t, "testdata/invalid")
	if len(all) < 20 {
		t.Fatalf("only %d samples", len(all))
	}
	for _, file := range all {
		t.Run(file, func(t *testing.T) {
			_, err := Load(Options{File: file, Packs: []string{"HD39", "BP29", "policy"}})
			if err == nil {
				t.Fatal("it was loaded")
			}
			var problems Problems
			if !errors.As(err, &problems) || fault.KindOf(err) != fault.Usage {
				t.Fatalf("kind %q: %v", fault.KindOf(err), err)
			}
			golden(t, strings.TrimSuffix(file, ".toml")+".err", []byte(err.Error()+"\n"))
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows a secret")
			}
		})
	}
}

// golden compares with a file, or rewrites it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// The example is the first thing an operator copies: it loads, and no key that
// exists is missing from it.
// No line of the smallest file can be left out.
func TestMinimalIsMinimal(t *testing.T) {
	if _, err := Parse("saoluu.minimal.toml", Minimal()); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(Minimal()), "\n")
	for i, line := range lines {
		if !strings.Contains(line, " = ") || strings.HasPrefix(line, "#") {
			continue
		}
		less := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
		if _, err := Parse("saoluu.minimal.toml", []byte(less)); err == nil {
			t.Errorf("it loads without %q", line)
		}
	}
}

func TestExampleUsesEveryKey(t *testing.T) {
	c, err := Parse("saoluu.example.toml", Example())
	if err != nil {
		t.Fatal(err)
	}
	showsAndLoadsAgain(t, c)
	d := newDecoder([]source{{"saoluu.example.toml", Example()}})
	d.read()
	used := map[string]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		for _, next := range n.nodes {
			walk(next)
		}
		if n.shape == table {
			for i, f := range n.layout.fields {
				used[n.value.Type().Name()+"."+f.key] = used[n.value.Type().Name()+"."+f.key] || n.seen&(1<<i) != 0
			}
		}
	}
	walk(d.root)
	if len(used) < 50 {
		t.Errorf("only %d keys were met", len(used))
	}
	for key, there := range used {
		if !there {
			t.Errorf("the example does not use %s", key)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := Load(Options{File: "testdata/valid/minimal.toml"})
	if err != nil {
		t.Fatal(err)
	}
	job := c.Jobs["etc"]
	got := fmt.Sprint(
		c.Site.Timezone, " ", c.Site.Location, " ", c.Site.Language, " ", c.Site.Packs, " ",
		c.Paths.State, " ", c.Paths.Scratch, " ", c.Engine.StallTimeout, " ", c.Engine.TotalTimeout, " ",
		c.Classes["cau-hinh"].Copies, " ", c.Targets["nas"].Parallel, " ", c.Targets["nas"].Reserve, " ",
		job.Name, " ", job.Title, " ", job.Retries, " ", job.Source.Facts, " ", job.Test.Schedule,
	)
	want := "Asia/Ho_Chi_Minh Asia/Ho_Chi_Minh vi [HD39 policy] /var/lib/saoluu /var/lib/saoluu/scratch 30m 24h 1 4 1GiB etc etc 2 sampled quarterly on 5 at 03:00"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(Options{File: filepath.Join(t.TempDir(), "saoluu.toml")})
	if fault.KindOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "config example") {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
}

// addSeeds gives a fuzz target the samples, besides the seeds in testdata/fuzz.
func addSeeds(f *testing.F) {
	f.Add(Example())
	for _, pattern := range []string{"testdata/valid/*.toml", "testdata/invalid/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds in %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
}

// Whatever the text, loading does not panic and every problem has a place. What
// we take, the library's own strict decoder takes too: we are never laxer than
// TOML.
func FuzzLoad(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("fuzz.toml", text)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("no problems in %v", err)
			}
			lines := 1 + strings.Count(string(text), "\n")
			for _, p := range problems {
				if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Text == "" {
					t.Fatalf("%+v has no place among %d lines", p, lines)
				}
			}
			return
		}
		var general map[string]any
		if err := toml.Unmarshal(text, &general); err != nil {
			t.Fatalf("taken, though it is not TOML: %v", err)
		}
		showsAndLoadsAgain(t, c)
	})
}

// The tags of every field make sense, also of types no test uses.
func TestLayouts(t *testing.T) {
	ls := layouts{}
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		if _, done := ls[t]; done {
			return
		}
		for _, f := range ls.of(t).fields {
			if f.elem != nil {
				visit(f.elem)
			}
		}
	}
	visit(reflect.TypeFor[Config]())
	for typ, l := range ls {
		if len(l.fields) > 63 {
			t.Errorf("%s has more keys than a node can mark", typ)
		}
	}
}

// manyJobs writes a configuration of n jobs such as a province might have.
func manyJobs(n int) []byte {
	var b strings.Builder
	b.WriteString("[site]\nname = \"Tỉnh\"\ncode = \"T\"\nlevel = 3\nzone = \"tslcd\"\n[classes.a]\nkeep = { daily = 14 }\n[targets.nas]\ntype = \"local\"\npath = \"/mnt/nas\"\n")
	for i := range n {
		fmt.Fprintf(&b, `
[jobs.job-%05d]
title = "CSDL số %d"
system = "Hệ thống %d"
category = "database"
importance = "high"
secrecy = "none"
owner = "Văn phòng Sở"
class = "a"
schedule = "daily at %02d:%02d"
targets = ["nas"]
rpo = "24h"
rto = "4h"
  [jobs.job-%05d.source]
  type = "postgres"
  host = "/var/run/postgresql"
  database = "db%d"
  user = "saoluu"
  [jobs.job-%05d.restore_test]
  schedule = "monthly on 5 at 03:00"
  checks = [{ sql = "SELECT count(*) FROM t%d", min = 1 }]
`, i, i, i%100, i%24, i%60, i, i, i, i)
	}
	return []byte(b.String())
}

func BenchmarkParse10000Jobs(b *testing.B) {
	text := manyJobs(10_000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("many.toml", text); err != nil {
			b.Fatal(err)
		}
	}
}
