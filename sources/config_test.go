package sources_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

func TestConfigSuite(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.conf"), []byte("port = 1\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("app.conf", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond) // older than the run by a tick of the file system's clock
	say := func(argv ...string) sources.ConfigCommand { return sources.ConfigCommand{Name: "say", Argv: argv} }
	sourcetest.Run(t, sourcetest.Subject{
		New: func(*testing.T) sources.Source {
			return &sources.Config{Paths: []string{dir}, Commands: []sources.ConfigCommand{say("/bin/echo", "x")}, Now: time.Now}
		},
		Broken: map[string]func(*testing.T) sources.Source{
			"nothing": func(*testing.T) sources.Source { return &sources.Config{Now: time.Now} },
			"missing path": func(*testing.T) sources.Source {
				return &sources.Config{Paths: []string{dir + "/none"}, Commands: []sources.ConfigCommand{say("/bin/echo", "x")}, Now: time.Now}
			},
			"only a command that fails": func(*testing.T) sources.Source {
				return &sources.Config{Commands: []sources.ConfigCommand{say("/bin/false")}, Now: time.Now}
			},
		},
	})
}

// One that fails is named, and takes nothing else down.
func TestConfigLacks(t *testing.T) {
	c := &sources.Config{Now: time.Now, Commands: []sources.ConfigCommand{
		{Name: "good", Argv: []string{"/bin/sh", "-c", "echo '# now'; echo x"}, Drop: []string{"^# "}},
		{Name: "bad", Argv: []string{"/bin/sh", "-c", "echo half; echo why >&2; exit 4"}},
	}}
	scratch := t.TempDir()
	p, err := c.Prepare(t.Context(), scratch)
	if err != nil {
		t.Fatal(err)
	}
	if p.Lacks == nil || !strings.Contains(p.Lacks.Error(), `command "bad": sh: exit status 4: why`) || fault.HintOf(p.Lacks) == "" && len(p.Parts) != 1 {
		t.Errorf("lacks %v", p.Lacks)
	}
	if text, err := os.ReadFile(filepath.Join(scratch, "commands", "good.txt")); err != nil || string(text) != "x\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(scratch); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// The programs of a preset that are here run to their end, twice to the same.
func TestCommandPresets(t *testing.T) {
	for _, family := range []string{"debian", "rhel"} {
		c := &sources.Config{Commands: sources.CommandPresets(family), Now: time.Now}
		var facts [2][]sources.Fact
		for i := range facts {
			p, err := c.Prepare(t.Context(), t.TempDir())
			if err != nil || p.Lacks != nil {
				t.Fatalf("%s: %v, %v", family, err, p.Lacks)
			}
			if facts[i], err = p.Facts(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.Release(); err != nil {
				t.Fatal(err)
			}
		}
		for _, tally := range sources.Compare(facts[0], facts[1]) {
			for _, d := range tally.Broken {
				t.Errorf("%s: %s %s is another the second time", family, d.Fact.Kind, d.Fact.Of)
			}
		}
	}
	if sources.CommandPresets("windows") != nil {
		t.Error("an unknown family has commands")
	}
}

// What changes by itself is left out; what somebody sets stays.
func TestVolatileLines(t *testing.T) {
	for _, c := range []struct {
		command, line string
		kept          bool
	}{
		{"sysctl", "kernel.random.uuid = 7bce1f09", false},
		{"sysctl", "kernel.ns_last_pid = 23477", false},
		{"sysctl", "fs.dentry-state = 612092\t610205", false},
		{"sysctl", "net.ipv4.tcp_fastopen_key = 00112233-44556677-8899aabb-ccddeeff", false},
		{"sysctl", "net.ipv4.conf.veth1a2b.rp_filter = 2", false},
		{"sysctl", "net.ipv4.conf.eth0.rp_filter = 2", true},
		{"sysctl", "net.ipv4.neigh.default.gc_thresh1 = 128", true},
		{"sysctl", "kernel.keys.maxkeys = 200", true},
		{"sysctl", "kernel.perf_cpu_time_max_percent = 25", true},
		{"addresses", "       valid_lft 86342sec preferred_lft 86342sec", false},
		{"addresses", "    inet6 2001:db8::7/64 scope global temporary dynamic", false},
		{"addresses", "    inet 192.0.2.2/24 brd 192.0.2.255 scope global dynamic eth0", true},
		{"unit-files", "session-3.scope transient -", false},
		{"unit-files", "nginx.service enabled enabled", true},
		{"mounts", "/var/lib/docker/overlay2/1a/merged overlay overlay rw", false},
		{"mounts", "/srv /dev/sdb1 ext4 rw,relatime", true},
		{"mounts", "/tmp/disk /dev/loop3 ext4 rw,relatime", false},
		{"mounts", "/media/sao-luu /dev/sdc1 ext4 rw", false},
		{"disks", "sda1 part 20G ext4 1f3c 0", true},
		{"disks", "sdc1 part 4T ext4 2f3c 1", false},
		{"routes", "2001:db8::/64 dev eth0 proto ra metric 100 expires 2591sec", false},
	} {
		for _, preset := range sources.CommandPresets("debian") {
			if preset.Name != c.command {
				continue
			}
			one := &sources.Config{Now: time.Now, Commands: []sources.ConfigCommand{{Name: "said", Argv: []string{"/bin/echo", c.line}, Drop: preset.Drop}}}
			scratch := t.TempDir()
			if _, err := one.Prepare(t.Context(), scratch); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(scratch, "commands", "said.txt"))
			if err != nil || (len(text) > 0) != c.kept {
				t.Errorf("%s %q: kept %q, %v", c.command, c.line, text, err)
			}
		}
	}
}

// A program of a preset that may not tell says who could let it.
func TestPresetDenied(t *testing.T) {
	dir := t.TempDir()
	program := "#!/bin/sh\necho 'Operation not permitted (you must be root)' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "nft"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	c := &sources.Config{Commands: sources.CommandPresets("debian"), Now: time.Now}
	p, err := c.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if p.Lacks == nil || !strings.Contains(p.Lacks.Error(), `command "nftables"`) || !strings.Contains(fault.HintOf(p.Lacks), "configurations.md") {
		t.Errorf("lacks %v, hint %q", p.Lacks, fault.HintOf(p.Lacks))
	}
}
