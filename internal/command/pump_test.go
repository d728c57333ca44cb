package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"saoluu/internal/fault"
)

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func TestPump(t *testing.T) {
	for _, tc := range []struct {
		name, script, err string
		exit              int
		stall             time.Duration
	}{
		{name: "good", script: "head -c 5000000 /dev/zero"},
		{name: "empty", script: "true", exit: 1, err: "wrote nothing"},
		{name: "dies half-way", script: "head -c 2500000 /dev/zero; echo broken >&2; exit 7", exit: 7, err: "exit status 7: broken"},
		{name: "killed", script: "head -c 2500000 /dev/zero; kill -9 $$", exit: 1, err: "signal 9"},
		{name: "hangs", script: "echo half; exec sleep 600", exit: 1, stall: 100 * time.Millisecond, err: "no progress"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "digest")
			var out bytes.Buffer
			exit, err := Pump(t.Context(), PumpRequest{
				Argv: []string{"/bin/sh", "-c", tc.script}, Env: []string{"PATH=/usr/bin:/bin"}, Digest: file, Stdout: &out, Stall: tc.stall,
			})
			if exit != tc.exit || !strings.Contains(errText(err), tc.err) || (err == nil) != (tc.err == "") {
				t.Errorf("exit %d, %v", exit, err)
			}
			kind := fault.KindOf(err)
			d, err := ReadDigest(file)
			if (err == nil) != (tc.exit == 0) || fault.KindOf(err) != kind || !strings.Contains(errText(err), tc.err) {
				t.Fatalf("digest %v, %v, kind %q not %q", d, err, fault.KindOf(err), kind)
			}
			sum := sha256.Sum256(out.Bytes())
			if err == nil && (d.Bytes != 5000000 || d.SHA256 != hex.EncodeToString(sum[:])) {
				t.Errorf("digest %+v", d)
			}
		})
	}
}

// Who feeds a program says why it failed, with its kind and hint; what made the program
// fail by itself, or not at all, stays as it is.
func TestPumpWhy(t *testing.T) {
	dir := t.TempDir()
	why := filepath.Join(dir, "why")
	if err := WriteWhy(why, fault.New(fault.Absent, "dump", errors.New("the server is gone"), "start it")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, script, file, err string
		kind                    fault.Kind
		hint                    string
	}{
		{"told", "echo x; exit 3", why, "dump: the server is gone", fault.Absent, "start it"},
		{"not told", "echo x; exit 3", filepath.Join(dir, "none"), "sh: exit status 3", fault.Failed, byHand},
		{"well", "echo x", why, "", "", ""},
	} {
		file := filepath.Join(dir, "digest")
		_, err := Pump(t.Context(), PumpRequest{Argv: []string{"/bin/sh", "-c", tc.script}, Digest: file, Why: tc.file, Stdout: io.Discard})
		_, told := ReadDigest(file)
		if errText(err) != tc.err || errText(told) != tc.err || fault.KindOf(told) != tc.kind || fault.HintOf(told) != tc.hint {
			t.Errorf("%s: %v; told %v, kind %q, hint %q", tc.name, err, told, fault.KindOf(told), fault.HintOf(told))
		}
	}
}

func TestPumpMainAsAProcess(t *testing.T) {
	env, err := json.Marshal([]string{"DUMP_PASSWORD=s3cret", "PATH=/usr/bin:/bin"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "digest")
	c := Cmd{
		Argv: []string{self(t), "pump", "--digest", file, "--stall", "1m", "--", "/usr/bin/env"},
		Env:  []string{PumpEnv + "=" + string(env), "RESTIC_PASSWORD_FILE=/secret/place"},
	}
	out, err := Output(t.Context(), c, 1000)
	if err != nil || string(out) != "DUMP_PASSWORD=s3cret\nPATH=/usr/bin:/bin\n" {
		t.Errorf("the dump saw %q, %v", out, err)
	}
	if d, err := ReadDigest(file); err != nil || d.Bytes != int64(len(out)) {
		t.Errorf("digest %+v, %v", d, err)
	}
	for name, args := range map[string][]string{
		"no command": {"--digest", file}, "unknown flag": {"--nope", "--", "true"},
	} {
		c.Argv = append([]string{self(t), "pump"}, args...)
		if res, err := Run(t.Context(), c); err == nil || res.ExitCode != 2 {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
	c.Argv, c.Env = []string{self(t), "pump", "--", "true"}, []string{PumpEnv + "=not json"}
	if res, err := Run(t.Context(), c); err == nil || res.ExitCode != 2 || strings.Contains(res.Stderr, "not json") {
		t.Errorf("bad environment: %+v, %v", res, err)
	}
}

func TestPumpThatCannotWriteItsDigest(t *testing.T) {
	exit, err := Pump(t.Context(), PumpRequest{Argv: []string{"/bin/echo", "x"}, Digest: "/nonexistent/digest", Stdout: io.Discard})
	if exit == 0 || err == nil {
		t.Errorf("exit %d, %v", exit, err)
	}
	if exit, err := Pump(t.Context(), PumpRequest{Argv: []string{"/bin/echo", "x"}, Stdout: io.Discard}); exit != 0 || err != nil {
		t.Errorf("no digest wanted: %d, %v", exit, err)
	}
	if _, err := ReadDigest("/nonexistent/digest"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestReadDigestRefuses(t *testing.T) {
	dir := t.TempDir()
	for i, text := range []string{"", "{}", `{"sha256":"zz","bytes":1}`, `{"sha256":"` + strings.Repeat("a", 64) + `","bytes":0}`, "[1]"} {
		file := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := ReadDigest(file); err == nil {
			t.Errorf("%q gave %+v", text, d)
		}
	}
}

// A killed parent must leave nothing behind: neither the program it started,
// nor what a pump in between started.
func TestKilledParentLeavesNoOrphan(t *testing.T) {
	for name, argv := range map[string][]string{
		"program":         {self(t), "parent", "/bin/sh", "-c", "echo $$; exec sleep 600"},
		"program of pump": {self(t), "parent", self(t), "pump", "--", "/bin/sh", "-c", "echo $$; exec sleep 600"},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			p, err := Start(t.Context(), Cmd{Argv: argv, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: w})
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			child, grandchild := readPids(t, r)
			if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			waitGone(t, p.Pid())
			waitGone(t, child)
			waitGone(t, grandchild)
		})
	}
}

// readPids reads "pid N" of the parent and the bare number of the last program.
func readPids(t *testing.T, r io.Reader) (child, last int) {
	t.Helper()
	var text string
	buf := make([]byte, 100)
	for child == 0 || last == 0 {
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		text += string(buf[:n])
		for line := range strings.Lines(text) {
			if num, ok := strings.CutPrefix(line, "pid "); ok {
				child, _ = strconv.Atoi(strings.TrimSpace(num))
			} else if strings.HasSuffix(line, "\n") {
				last, _ = strconv.Atoi(strings.TrimSpace(line))
			}
		}
	}
	return child, last
}

func TestWithStall(t *testing.T) {
	ctx, w := WithStall(t.Context(), 50*time.Millisecond, "restore")
	<-ctx.Done()
	if err := context.Cause(ctx); fault.KindOf(err) != fault.TimedOut || !strings.Contains(err.Error(), "restore") {
		t.Errorf("got %v", err)
	}
	w.Stop()
	w.Kick()
	quiet, w := WithStall(t.Context(), 0, "x")
	w.Kick()
	w.Hold()
	w.Release()
	if quiet.Err() != nil {
		t.Error("a limit of 0 fired")
	}
	w.Stop()
	var none *Watch
	none.Kick()
	none.Hold()
	none.Release()
}

func BenchmarkPump(b *testing.B) {
	b.SetBytes(256 << 20)
	for b.Loop() {
		if _, err := Pump(b.Context(), PumpRequest{
			Argv: []string{"/usr/bin/head", "-c", strconv.Itoa(256 << 20), "/dev/zero"}, Stdout: io.Discard,
		}); err != nil {
			b.Fatal(err)
		}
	}
}
