package restic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

func TestProgress(t *testing.T) {
	for _, tc := range []struct {
		name   string
		in     status
		expect int64
		want   Progress
	}{
		{"backup", status{PercentDone: 0.25, SecondsRemaining: 30, TotalFiles: 8, FilesDone: 2, TotalBytes: 400, BytesDone: 100}, 0,
			Progress{Percent: 25, BytesDone: 100, BytesTotal: 400, FilesDone: 2, FilesTotal: 8, Remaining: 30 * time.Second}},
		{"restore has no guess", status{SecondsElapsed: 10, PercentDone: 0.5, TotalFiles: 2, FilesRestored: 1, TotalBytes: 200, BytesRestored: 100}, 0,
			Progress{Percent: 50, BytesDone: 100, BytesTotal: 200, FilesDone: 1, FilesTotal: 2, Remaining: 10 * time.Second}},
		{"stream", status{SecondsElapsed: 2, SecondsRemaining: 2e13, TotalFiles: 1, BytesDone: 500}, 0, Progress{BytesDone: 500, FilesTotal: 1}},
		{"stream of known length", status{SecondsElapsed: 2, SecondsRemaining: 2e13, BytesDone: 500}, 2000,
			Progress{Percent: 25, BytesDone: 500, BytesTotal: 2000, Remaining: 6 * time.Second}},
		{"longer than expected", status{SecondsElapsed: 2, BytesDone: 500}, 400, Progress{BytesDone: 500}},
		{"nothing yet", status{}, 400, Progress{}},
		{"beyond", status{PercentDone: 3, TotalBytes: 1, SecondsRemaining: 1e12}, 0, Progress{Percent: 100, BytesTotal: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.in.progress(tc.expect)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestItemErrorsAreBounded(t *testing.T) {
	var tr transcript
	for range 3 * maxItems {
		tr.stderrLine([]byte(`{"message_type":"error","error":{"message":"no"},"during":"archival","item":"/x"}`))
		tr.stderrLine([]byte("plain"))
	}
	if len(tr.items) != maxItems || tr.count != 3*maxItems || len(tr.notes) != maxItems {
		t.Errorf("%d items of %d, %d notes", len(tr.items), tr.count, len(tr.notes))
	}
	err := verdict("back up", &command.ExitError{Name: "restic", Code: exitIncomplete}, &tr, func(s string) string { return s })
	if fault.KindOf(err) != fault.Incomplete || !strings.Contains(err.Error(), "/x: no and 299 more") {
		t.Error(err)
	}
}

// The texts that decide a kind, as restic 0.18 and 0.19 print them.
func TestCauses(t *testing.T) {
	for text, want := range map[string]fault.Kind{
		"Fatal: unable to save snapshot: write /r/data/53-tmp: no space left on device":                     fault.NoSpace,
		"Fatal: cannot dump file: decrypting blob <data/76> from b7 failed: ciphertext verification failed": fault.Damaged,
		"Load(<data/67d7836094>, 248, 1058) failed: open /r/data/67: no such file or directory":             fault.Damaged,
		"id 54bf not found in repository":                                                     fault.Damaged,
		"Fatal: unable to open config file: stat /r/config: permission denied":                fault.Denied,
		"Fatal: Resolving password failed: Readfile: open /key: permission denied":            fault.Failed,
		"Fatal: create repository at /r failed: config file already exists":                   fault.Refused,
		"Fatal: unable to open repository: dial tcp 10.0.0.1:22: connect: connection refused": fault.Absent,
		"client.PutObject: Access Denied.":                                                    fault.Denied,
		"Fatal: cannot dump file: path \"/nope\" not found in snapshot":                       fault.Failed,
		"something new": fault.Failed,
	} {
		tr := &transcript{exit: clean(text)}
		err := verdict("op", &command.ExitError{Name: "restic", Code: exitFatal}, tr, func(s string) string { return s })
		if got := fault.KindOf(err); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// FuzzLines feeds arbitrary text to both readers: whatever restic says, reading
// it neither panics nor turns into a good result. The seeds are what real
// versions printed.
func FuzzLines(f *testing.F) {
	seeds, err := filepath.Glob("testdata/lines/*")
	if err != nil || len(seeds) < 5 {
		f.Fatalf("%d seeds, %v", len(seeds), err)
	}
	for _, file := range seeds {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f.Add([]byte(strings.TrimSuffix(line, "\n")))
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var tr transcript
		tr.stderrLine(line)
		b := &backupReader{kick: func() {}}
		err := tr.stdoutLine(line, b.take)
		s := b.summary.result(&tr)
		if err == nil && isFullID(s.SnapshotID) && !strings.Contains(string(line), s.SnapshotID) {
			t.Errorf("a snapshot id out of nowhere: %q", s.SnapshotID)
		}
		if p := b.last; p.Percent < 0 || p.Percent > 100 || p.Remaining < 0 {
			t.Errorf("progress %+v", p)
		}
		if len(tr.items) > tr.count {
			t.Error("more items than counted")
		}
		if strings.Contains(tr.exit+strings.Join(tr.notes, ""), "\n") {
			t.Error("a line break in an error text")
		}
	})
}
