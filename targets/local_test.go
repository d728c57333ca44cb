package targets_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
	"saoluu/targets/targettest"
)

// needRoot skips a test that mounts when it cannot, except where nothing may be
// skipped.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("SAOLUU_MUST_RUN") != "" {
		t.Fatal("this test mounts file systems and needs root")
	}
	t.Skip("this test mounts file systems and needs root")
}

func engine(t *testing.T) *restic.Engine {
	t.Helper()
	path := os.Getenv("SAOLUU_RESTIC")
	if path == "" {
		path, _ = filepath.Abs("../bin/restic")
	}
	e, err := restic.Find(t.Context(), restic.FindOptions{Path: path})
	if err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return e
}

func local(t *testing.T, path string) *targets.Local {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a-key-for-tests\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &targets.Local{
		Name: "disk", Path: path, Site: "STP",
		Repository: restic.Repo{Name: "disk", URL: path, PasswordFile: key, Gate: restic.NewGate(t.TempDir(), "disk", 2)},
	}
}

func TestLocal(t *testing.T) {
	e := engine(t)
	targettest.Run(t, func(t *testing.T) targettest.Fixture {
		path := filepath.Join(t.TempDir(), "target")
		fresh := local(t, path)
		return targettest.Fixture{
			Target: fresh,
			Enrolled: func(id string) targets.Target {
				again := *fresh
				again.ID = id
				return &again
			},
			Engine: e, Secret: "a-key-for-tests",
			Away: func(t *testing.T) {
				// An unmounted disk leaves its empty mount point.
				must(t, os.Rename(path, path+".away"))
				must(t, os.Mkdir(path, 0o755))
			},
			Back: func(t *testing.T) {
				must(t, os.Remove(path))
				must(t, os.Rename(path+".away", path))
			},
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestLocalRefusesStrangers(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "thesis.odt"), []byte("somebody's"), 0o600))
	if _, err := local(t, dir).Enroll(t.Context()); fault.KindOf(err) != fault.Refused {
		t.Fatalf("a folder with somebody's files: %v", err)
	}
	if _, err := local(t, filepath.Join(dir, "no", "parent")).Enroll(t.Context()); fault.KindOf(err) != fault.Absent {
		t.Fatalf("a folder without a parent: %v", err)
	}
}

func TestLocalOfAnotherSiteIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := local(t, dir).Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := local(t, dir)
	other.Site = "SNV"
	if _, err := other.Enroll(t.Context()); fault.KindOf(err) != fault.Refused {
		t.Fatalf("another site's target: %v", err)
	}
}

// mountLoop makes an ext4 file system in a file and mounts it.
func mountLoop(t *testing.T, file string, options string) string {
	t.Helper()
	needRoot(t)
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, 32<<20))
	run(t, "mkfs.ext4", "-q", file)
	at := t.TempDir()
	run(t, "mount", "-o", "loop"+options, file, at)
	t.Cleanup(func() { run(t, "umount", at) })
	return at
}

func TestLocalReadOnlyAndFull(t *testing.T) {
	at := mountLoop(t, filepath.Join(t.TempDir(), "disk.img"), "")
	target := local(t, filepath.Join(at, "target"))
	id, err := target.Enroll(t.Context())
	must(t, err)
	target.ID = id
	must(t, os.WriteFile(filepath.Join(target.Path, "config"), nil, 0o600))
	must(t, target.Ready(t.Context()))

	target.ReserveBytes = 1 << 30
	if err := target.Ready(t.Context()); fault.KindOf(err) != fault.NoSpace {
		t.Fatalf("less free than the reserve: %v", err)
	}
	target.ReserveBytes = 0
	run(t, "mount", "-o", "remount,ro", at)
	if err := target.Ready(t.Context()); fault.KindOf(err) != fault.Denied {
		t.Fatalf("read-only: %v", err)
	}
}

func TestSeparation(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	source := filepath.Join(base, "source")
	must(t, os.Mkdir(source, 0o755))

	bound := t.TempDir()
	run(t, "mount", "--bind", base, bound)
	t.Cleanup(func() { run(t, "umount", bound) })
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(base, link))

	ram := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=40M", "none", ram)
	t.Cleanup(func() { run(t, "umount", "-l", ram) })

	// A disk of its own: a loop device over a file in memory has no disk in
	// common with the machine's.
	onSource := mountLoop(t, filepath.Join(base, "on-source.img"), "")
	apart := mountLoop(t, filepath.Join(ram, "apart.img"), "")

	tests := []struct {
		name, target string
		level        int
		unknown      bool
	}{
		{"same folder's file system", filepath.Join(base, "target"), 0, false},
		{"bind mount of the same", bound, 0, false},
		{"symbolic link to the same", link, 0, false},
		{"loop file on the source's file system", onSource, 0, false},
		{"tmpfs has no disk", ram, 0, true},
		{"loop file in memory", apart, 0, true},
	}
	must(t, os.MkdirAll(filepath.Join(base, "target"), 0o755))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := local(t, tt.target).Separation(t.Context(), []string{source})
			must(t, err)
			if got.Unknown != tt.unknown || (!tt.unknown && got.Level != tt.level) {
				t.Errorf("got L%d unknown=%v (%s), want L%d unknown=%v", got.Level, got.Unknown, got.How, tt.level, tt.unknown)
			}
			if got.How == "" {
				t.Error("says nothing of how it was measured")
			}
		})
	}
	t.Run("a source that is elsewhere", func(t *testing.T) {
		got, err := local(t, base).Separation(t.Context(), nil)
		if err != nil || !got.Unknown {
			t.Errorf("got %+v, %v; want unknown", got, err)
		}
	})
}

// TestSeparationOfDisks looks at real devices: two loop disks cut from files on
// one disk are two partitions of it at best.
func TestSeparationOfDisks(t *testing.T) {
	base := t.TempDir()
	one := mountLoop(t, filepath.Join(base, "one.img"), "")
	two := mountLoop(t, filepath.Join(base, "two.img"), "")
	var a, b unix.Stat_t
	must(t, unix.Stat(one, &a))
	must(t, unix.Stat(two, &b))
	if a.Dev == b.Dev {
		t.Fatal("the two file systems have one device")
	}
	got, err := local(t, two).Separation(t.Context(), []string{one})
	must(t, err)
	if got.Unknown || got.Level != 0 {
		t.Errorf("got %+v; want L0: both live in files of one file system", got)
	}
}
