package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
)

// How a program ends, and what is reported of it.

func TestCauseOfContextIsReported(t *testing.T) {
	cause := fault.New(fault.Refused, "window closed", nil, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := Lines(ctx, sh("echo ready; sleep 60"), func([]byte) error { cancel(cause); return nil })
	if !errors.Is(err, cause) || fault.KindOf(err) != fault.Refused {
		t.Errorf("got %v", err)
	}
	if _, err := Run(ctx, sh("true")); !errors.Is(err, cause) {
		t.Errorf("start under an ended context: %v", err)
	}
}

func TestSuccessBeforeCancelIsSuccess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, sh("true"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	cancel()
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
}

func TestDeafProgramIsKilledWithItsGroup(t *testing.T) {
	c := sh("trap '' TERM; sleep 600 & echo $!; while :; do sleep 1; done")
	c.Grace = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var child int
	_, err := Lines(ctx, c, func(line []byte) error {
		child, _ = strconv.Atoi(string(line))
		cancel()
		return nil
	})
	if fault.KindOf(err) != fault.Cancelled {
		t.Errorf("got %v", err)
	}
	waitGone(t, child)
}

func TestStoppedProgramHearsTheSignal(t *testing.T) {
	c := sh("echo up; kill -STOP $$; exit 0")
	c.Grace = time.Minute // the test would time out if SIGTERM waited for SIGCONT
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Lines(ctx, c, func([]byte) error { cancel(); return nil })
	if fault.KindOf(err) != fault.Cancelled {
		t.Errorf("got %v", err)
	}
}

func TestLeftoversAreKilled(t *testing.T) {
	var out bytes.Buffer
	c := sh("sleep 600 & echo $!")
	c.Stdout = &out
	if _, err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
}

func TestStall(t *testing.T) {
	c := sh("echo one; sleep 600")
	c.Stall = 100 * time.Millisecond
	if _, err := Run(t.Context(), c); fault.KindOf(err) != fault.TimedOut {
		t.Errorf("got %v", err)
	}
	// A slow reader is not a stalled program, and neither is one that is fed.
	slow := sh("echo one")
	slow.Stall = 50 * time.Millisecond
	slow.Stdout = writerFunc(func(p []byte) (int, error) { time.Sleep(200 * time.Millisecond); return len(p), nil })
	if _, err := Run(t.Context(), slow); err != nil {
		t.Error(err)
	}
	fed := sh("cat >/dev/null")
	fed.Stall = 300 * time.Millisecond
	fed.Stdin = &dripReader{n: 10, every: 100 * time.Millisecond}
	if _, err := Run(t.Context(), fed); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A dripReader gives one byte every so often, then fails with err or ends.
type dripReader struct {
	n     int
	every time.Duration
	err   error
}

func (r *dripReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		if r.err != nil {
			return 0, r.err
		}
		return 0, io.EOF
	}
	time.Sleep(r.every)
	r.n--
	p[0] = 'x'
	return 1, nil
}

func TestFailingInputIsNotTheEndOfInput(t *testing.T) {
	broken := errors.New("source broke")
	mark := t.TempDir() + "/committed"
	c := sh(`cat >/dev/null; echo done >"$1"`, mark)
	c.Stdin = &dripReader{n: 3, err: broken}
	_, err := Run(t.Context(), c)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program took a broken input for a whole one")
	}
}

func TestInputIsClosedWhenTheProgramEnds(t *testing.T) {
	r, w := io.Pipe()
	c := sh("exit 4")
	c.Stdin = r
	var ee *ExitError
	if _, err := Run(t.Context(), c); !errors.As(err, &ee) || ee.Code != 4 {
		t.Errorf("got %v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("the feeder was not told")
	}
}

func TestFailingConsumerIsReported(t *testing.T) {
	full := errors.New("disk full")
	c := sh("yes")
	c.Stdout = writerFunc(func([]byte) (int, error) { return 0, full })
	if _, err := Run(t.Context(), c); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if _, err := Output(t.Context(), sh("yes"), 100); err == nil || !strings.Contains(err.Error(), "longer than 100") {
		t.Errorf("got %v", err)
	}
}

func TestAllOutputOfAGoodProgramArrives(t *testing.T) {
	n := 0
	c := sh("head -c 3000000 /dev/zero")
	c.Stdout = writerFunc(func(p []byte) (int, error) { time.Sleep(time.Millisecond); n += len(p); return len(p), nil })
	if _, err := Run(t.Context(), c); err != nil || n != 3000000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestEscapedHolderOfTheOutputIsAnError(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the drain limit")
	}
	var out bytes.Buffer
	c := sh("setsid sh -c 'echo part; : >$1/fled; sleep 8' sh $1 & until [ -e $1/fled ]; do sleep 0.01; done", t.TempDir())
	c.Stdout = &out
	if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "holds its output open") {
		t.Errorf("got %v with output %q", err, out.String())
	}
}

// The line that says why is shown, which is not always the last one.
func TestTellingLine(t *testing.T) {
	const dump = "pg_dump: warning: x\npg_dump: error: Dumping failed: PQgetCopyData() failed.\n" +
		"pg_dump: detail: Error message from server: server closed the connection\n\tThis probably means\npg_dump: detail: Command was: COPY t TO stdout;\n"
	for stderr, want := range map[string]string{
		"":                          "",
		"one\ntwo\n\n":              "two",
		dump:                        "pg_dump: error: Dumping failed: PQgetCopyData() failed. Error message from server: server closed the connection",
		"pg_dump: detail: alone":    "pg_dump: detail: alone",
		"a: error: b\na: detail: c": "a: error: b c",
		"x: error: b\na: detail: c": "a: detail: c",
		"a: error: b\nmore\na: detail: c\na: detail: d": "a: error: b",
	} {
		if got := (&ExitError{Name: "p", Code: 1, Stderr: stderr}).Error(); got != strings.TrimSuffix("p: exit status 1: "+want, ": ") {
			t.Errorf("%q: %s, want %q", stderr, got, want)
		}
	}
}
