package rules

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A machine is a copy of the fetch script in a folder of its own, with a PATH on
// which apt-get always fails, as it does without a network.
type machine struct {
	dir, path string
}

func newMachine(t *testing.T) machine {
	t.Helper()
	m := machine{dir: t.TempDir()}
	m.path = filepath.Join(m.dir, "path")
	for _, name := range []string{"fetch-debian.sh", "debian.lock"} {
		m.write(t, "scripts/"+name, readFile(t, root+"/scripts/"+name))
	}
	m.write(t, "path/apt-get", "#!/bin/sh\nexit 100\n")
	return m
}

func (m machine) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// pretend writes a program that reports a version of restic and nothing else.
func (m machine) pretend(t *testing.T, name, version string) {
	t.Helper()
	m.write(t, name, "#!/bin/sh\necho 'restic "+version+" compiled with go1.26 on linux/amd64'\n")
}

// fetch runs the script and returns what it said and whether it succeeded.
func (m machine) fetch(t *testing.T) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), need(t, "bash"), filepath.Join(m.dir, "scripts/fetch-debian.sh"), "restic")
	cmd.Env = []string{"PATH=" + m.path + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + m.dir, "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func (m machine) has(name string) bool {
	_, err := os.Stat(filepath.Join(m.dir, name))
	return err == nil
}

func TestFetchRestic(t *testing.T) {
	if _, err := os.Stat("/usr/lib/saoluu/restic"); err == nil {
		t.Skip("an installed saoluu's restic would be found")
	}
	tests := []struct {
		name, inPlace, onPath string // versions; empty means absent
		ok                    bool
		want                  string
	}{
		{"new enough in place", "0.19.1", "", true, "is in place"},
		{"a newer one in place", "0.100.0", "", true, "is in place"},
		{"the machine's own, and says so", "", "0.18.0", true, "this machine's own"},
		{"old in place is replaced", "0.17.3", "0.19.1", true, "older than 0.18.0"},
		{"old everywhere", "", "0.14.0", false, "older than 0.18.0; not used"},
		{"garbage on PATH", "", "garbage", false, "no restic 0.18.0 or newer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			if tt.inPlace != "" {
				m.pretend(t, "bin/restic", tt.inPlace)
			}
			if tt.onPath != "" {
				m.pretend(t, "path/restic", tt.onPath)
			}
			said, ok := m.fetch(t)
			if ok != tt.ok {
				t.Errorf("success %v, want %v", ok, tt.ok)
			}
			if !strings.Contains(said, tt.want) {
				t.Errorf("no %q in:\n%s", tt.want, said)
			}
			if !ok && !strings.Contains(said, "hint: ") {
				t.Errorf("no hint in:\n%s", said)
			}
			if !ok && m.has("bin/restic") {
				t.Error("a restic that was refused is in bin")
			}
		})
	}
}

// offer makes the machine's apt-get hand out a package of restic 0.19.1 with the
// given Debian version. An update fails as apt does on an old index, unless the
// configuration gives the date up.
func (m machine) offer(t *testing.T, version string, expired bool) {
	t.Helper()
	if _, err := os.Stat("/usr/share/keyrings/debian-archive-keyring.gpg"); err != nil {
		t.Skip("not a Debian: no archive keyring to check against")
	}
	m.pretend(t, "deb/usr/bin/restic", "0.19.1")
	m.write(t, "deb/DEBIAN/control", "Package: restic\nVersion: "+version+
		"\nArchitecture: amd64\nMaintainer: nobody <nobody@example.org>\nDescription: a stand-in\n")
	if err := os.Chmod(filepath.Join(m.dir, "deb/DEBIAN"), 0o755); err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(m.dir, "restic_"+version+"_amd64.deb")
	out, err := exec.CommandContext(t.Context(), need(t, "dpkg-deb"), "--build", filepath.Join(m.dir, "deb"), deb).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	update := "exit 0"
	if expired {
		update = `grep -q 'Check-Valid-Until "false"' "$3" || { echo 'E: Release file is expired'; exit 100; }`
	}
	m.write(t, "path/apt-get", `#!/bin/sh
case "$*" in
indextargets*) echo http://mirror.invalid/debian/ ;;
*update*) `+update+` ;;
*download*) cp '`+deb+`' . ;;
esac
`)
}

// A package that is on record with another hash is refused, and the machine's
// own restic does not take its place: somebody should look.
func TestFetchResticWrongHash(t *testing.T) {
	m := newMachine(t)
	m.pretend(t, "path/restic", "0.19.1")
	m.offer(t, "0.19.1-1", false)
	said, ok := m.fetch(t)
	if ok || !strings.Contains(said, "records") || m.has("bin/restic") {
		t.Errorf("success %v, bin/restic there: %v, said:\n%s", ok, m.has("bin/restic"), said)
	}
}

// A package not on record is taken on the archive's signature, but only while the
// signed index is current.
func TestFetchResticUnrecorded(t *testing.T) {
	for _, expired := range []bool{false, true} {
		m := newMachine(t)
		m.offer(t, "0.19.1-9", expired)
		said, ok := m.fetch(t)
		if ok == expired || !strings.Contains(said, "not recorded") {
			t.Errorf("index out of date %v: success %v, said:\n%s", expired, ok, said)
		}
	}
}

// No script carries a mirror's address: each machine has its own.
func TestNoHosts(t *testing.T) {
	scripts, err := filepath.Glob(root + "/scripts/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts found (%v): the test looks in the wrong place", err)
	}
	address := regexp.MustCompile(`https?://[a-z0-9.-]+\.[a-z]{2,}`)
	for _, path := range append(scripts, root+"/Makefile", root+"/.ci/run") {
		if host := address.FindString(readFile(t, path)); host != "" {
			t.Errorf("%s names the host %s", path, host)
		}
	}
}

// A change fragment begins with its type, so that the release notes sort themselves.
func TestChangeFragments(t *testing.T) {
	fragments, err := filepath.Glob(root + "/changes/unreleased/*.md")
	if err != nil || len(fragments) == 0 {
		t.Fatalf("no fragments found (%v): the test looks in the wrong place", err)
	}
	typed := regexp.MustCompile(`\A(Bugfix|Enhancement|Change): \S.*[^.]\n\n\S`)
	for _, path := range fragments {
		if filepath.Base(path) == "README.md" {
			continue
		}
		if !typed.MatchString(readFile(t, path)) {
			t.Errorf("%s does not begin as changes/unreleased/README.md says", path)
		}
	}
}

// A path that the documents for newcomers name exists.
func TestNamedPaths(t *testing.T) {
	quoted := regexp.MustCompile("`((?:[\\w.-]+/)+[\\w.-]*)`")
	made := regexp.MustCompile(`^(bin|build|demo)/`) // by make, not kept
	for _, name := range []string{"ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "README.vi.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			if _, ours := layers[top(m[1])]; !ours && !strings.HasPrefix(m[1], "docs/") && !strings.HasPrefix(m[1], "systemd/") && !strings.HasPrefix(m[1], "changes/") {
				continue // somebody else's path, such as a module's or a device's
			}
			if made.MatchString(m[1]) {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
	}
}
