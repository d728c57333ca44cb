package rules

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const unitFile = root + "/systemd/saoluu.service"

// need returns the path of a program, and skips the test without it, except
// where everything must run.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("SAOLUU_MUST_RUN") != "" {
		t.Fatalf("%s is missing and must not be: run make deps", program)
	}
	t.Skipf("%s is missing", program)
	return ""
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// verifyUnit gives systemd's opinion of a unit: every word it says, because it
// exits with 0 even for a key it does not know.
func verifyUnit(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saoluu.service")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), need(t, "systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", path)
	said, err := cmd.CombinedOutput()
	if err != nil && len(said) == 0 {
		said = []byte(err.Error())
	}
	return string(said)
}

// installed is the unit as it would be where saoluu is installed: the program it
// starts must exist for systemd to be content.
func installed(t *testing.T) string {
	t.Helper()
	text := readFile(t, unitFile)
	there := strings.ReplaceAll(text, "=/usr/bin/saoluu ", "="+need(t, "true")+" ")
	if there == text {
		t.Fatal("the unit does not start /usr/bin/saoluu")
	}
	return there
}

func TestUnitVerifies(t *testing.T) {
	if said := verifyUnit(t, installed(t)); said != "" {
		t.Errorf("systemd-analyze verify:\n%s", said)
	}
}

func TestUnitVerifyBites(t *testing.T) {
	bad := strings.Replace(installed(t), "\n[Service]\n", "\n[Service]\nProtectEverything=yes\n", 1)
	if said := verifyUnit(t, bad); !strings.Contains(said, "ProtectEverything") {
		t.Errorf("an unknown key passed; systemd-analyze said %q", said)
	}
}

// exposed runs the security review with the ceiling of 3.0 on systemd's scale of
// 0 to 10; the threshold is in tenths.
func exposed(t *testing.T, unit string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), need(t, "systemd-analyze"),
		"security", "--offline=true", "--no-pager", "--threshold=30", unit)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestUnitExposure(t *testing.T) {
	out, err := exposed(t, unitFile)
	if err != nil {
		t.Errorf("exposure over 3.0 (%v):\n%s", err, out)
	}
	if !strings.Contains(out, "Overall exposure level for saoluu.service") {
		t.Errorf("no verdict in:\n%s", out)
	}
}

func TestUnitExposureBites(t *testing.T) {
	open := regexp.MustCompile(`(?m)^(Protect|Restrict|SystemCallFilter|NoNewPrivileges).*\n`).
		ReplaceAllString(readFile(t, unitFile), "")
	path := filepath.Join(t.TempDir(), "saoluu.service")
	if err := os.WriteFile(path, []byte(open), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exposed(t, path); err == nil {
		t.Errorf("a unit without protection passed:\n%s", out)
	}
}

// Every setting of the unit stands under a comment that gives its reason, alone
// or with neighbours that share it.
func TestUnitReasons(t *testing.T) {
	explained := false
	for line := range strings.Lines(readFile(t, unitFile)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"):
			explained = true
		case line == "":
			explained = false
		case strings.HasPrefix(line, "["), strings.HasPrefix(line, "Description="),
			strings.HasPrefix(line, "Documentation="), strings.HasPrefix(line, "WantedBy="):
			// a name, an address and the usual target need no reason
		case !explained:
			t.Errorf("%s: no reason above", line)
		}
	}
}

// A user the unit runs as is one the package makes.
func TestUnitUser(t *testing.T) {
	user := regexp.MustCompile(`(?m)^User=(\w+)$`).FindStringSubmatch(readFile(t, unitFile))
	if user == nil {
		t.Fatal("the unit names no user")
	}
	if !strings.Contains(readFile(t, root+"/systemd/saoluu.sysusers.conf"), "\nu "+user[1]+" ") {
		t.Errorf("systemd/saoluu.sysusers.conf does not make the user %s", user[1])
	}
}
