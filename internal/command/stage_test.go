package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// On a stage a program finds the restored tree where it was, its own code, and nothing
// else of this machine, and cannot change what was restored.
func TestStage(t *testing.T) {
	unshare := []string{"unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--user", "--map-root-user")
	}
	if out, err := exec.Command(unshare[0], append(unshare[1:], "true")...).CombinedOutput(); err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatalf("%v: %s", err, out)
		}
		t.Skipf("no namespaces here: %v: %s", err, out)
	}
	tree, root, mine := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "mine")
	for name, text := range map[string]string{"etc/app/app.conf": "one\n", "etc/passwd": "restored:x:1:1::/:/bin/sh\n", "usr/bin/sh": "not a program", "usr/local/etc/app/own.conf": "own\n"} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/app", filepath.Join(tree, "etc/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mine, []byte("secret of this machine"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `cat /etc/app/app.conf /etc/link/app.conf /etc/passwd /usr/local/etc/app/own.conf; ls /usr/local/etc /var/log/so; ls -d /usr/local/bin /var/run/lock; chown 33 /tmp && echo gave; cat ` + mine + `; ls /proc /.old; (echo x > /etc/app/app.conf) && echo wrote; echo tmp > /tmp/x && echo done`
	if os.Geteuid() != 0 {
		script = strings.Replace(script, "(echo x > /etc/app/app.conf) && echo wrote; ", "", 1) // its owner may
	}
	argv := append(unshare, self(t), "confine", "--root", root, "--tree", tree, "--own", "/etc", "--own", "/usr/local/etc", "--empty", "/var/log/so", "--", "/bin/sh", "-c", script)
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, err.(*exec.ExitError).Stderr)
	}
	if got, want := string(out), "one\none\nrestored:x:1:1::/:/bin/sh\nown\n/usr/local/etc:\napp\n\n/var/log/so:\n/usr/local/bin\n/var/run/lock\ngave\n/proc:\ndone\n"; got != want {
		t.Errorf("on the stage: %q, want %q", got, want)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What was saved below /usr is shown; what holds code never is.
func TestOnStage(t *testing.T) {
	for _, c := range []struct {
		path, saved string
		want        bool
	}{
		{"/etc/nginx/nginx.conf", "/etc", true},
		{"/opt/app/app.conf", "/opt/app", true},
		{"/usr/local/etc/app.conf", "/usr/local/etc", true},
		{"/usr/local/etc/app.conf", "/", true},
		{"/usr/local/nginx/conf/nginx.conf", "/usr/local/nginx/conf", true},
		{"/usr/local/nginx/conf/nginx.conf", "/", false},
		{"/usr/lib/systemd/system/a.service", "/usr/lib/systemd", false},
		{"/usr/local/lib/app.conf", "/usr/local/lib", false},
		{"/usr/local/etcetera/a", "/usr/local/etc", false},
		{"/lib/systemd/system/a.service", "/lib", false},
		{"/proc/1/x", "/proc", false},
	} {
		if got := OnStage(c.path, []string{c.saved}); got != c.want {
			t.Errorf("OnStage(%q, %q) = %v", c.path, c.saved, got)
		}
	}
}

// A restored link on the way to what was saved leads nowhere.
func TestStageLeads(t *testing.T) {
	tree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, "usr/share"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(tree, "usr/local")); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]bool{"/usr/share": false, "/usr/local": true, "/usr": false} {
		if got, err := leads(tree, folder); err != nil || got != want {
			t.Errorf("%s: %v, %v", folder, got, err)
		}
	}
}
