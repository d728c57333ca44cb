package verify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A tenant is a throwaway server in a sandbox, whatever it serves. It runs as an
// unprivileged user, confined, reachable by its socket alone, and ends with us,
// however we end.
type tenant struct {
	bin        string // folder of its programs
	dir        string // of its own; data and dumps lie below
	sockets    string
	credential *command.Credential
	confined   bool     // shed begins with Tester.Confine
	shed       []string // in front of every program: gives up rights and capabilities we were handed
	bounds     []string // in front of every program too: bounds the memory of each process
	process    *command.Process
}

// settle makes the folders of a server whose programs lie in bin, and finds the user
// it runs as.
func (x *examination) settle(bin string) (_ *tenant, err error) {
	t := &tenant{bin: bin, dir: filepath.Join(x.sandbox.dir, "server")}
	if t.credential, err = unprivileged(x.tester.User); err != nil {
		return nil, err
	}
	if t.shed, err = shedCapabilities(); err != nil {
		return nil, err
	}
	if t.bounds, err = boundMemory(x.tester.Memory); err != nil {
		return nil, err
	}
	if t.sockets, err = x.sandbox.socketFolder(x.tester.Sockets); err != nil {
		return nil, err
	}
	if len(x.tester.Confine) > 0 && t.credential == nil {
		t.confined = true
		t.shed = append(slices.Concat(x.tester.Confine, []string{"--read", filepath.Dir(t.bin), "--write", x.sandbox.dir, "--write", t.sockets, "--"}), t.shed...)
	}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, boxError(t.dir, err)
	}
	if err := errors.Join(t.give(t.dir), t.give(t.sockets), t.passable(x.tester.Scratch)); err != nil {
		return nil, err
	}
	return t, nil
}

// command spells out a program, run as the tenant's user.
func (t *tenant) command(path string, args ...string) command.Cmd {
	argv := append(slices.Concat(t.shed, t.bounds), path)
	return command.Cmd{Argv: append(argv, args...), Env: plainEnv, Dir: t.dir, Credential: t.credential}
}

// give makes the tenant's user the owner of a path.
func (t *tenant) give(path string) error {
	if t.credential == nil {
		return nil
	}
	return os.Lchown(path, int(t.credential.UID), int(t.credential.GID))
}

// passable makes sure that the tenant's user can get to its folder.
func (t *tenant) passable(scratch string) error {
	if t.credential == nil {
		return nil
	}
	real, err := filepath.EvalSymlinks(scratch)
	if err != nil {
		return err
	}
	for dir := real; dir != "/"; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o001 != 0 {
			continue
		}
		if dir == real {
			if err := os.Chmod(dir, st.Mode().Perm()|0o011); err != nil {
				return err
			}
			continue
		}
		return fault.New(fault.Denied, fmt.Sprintf("folder %q", dir), errors.New("the unprivileged user of the throwaway server cannot pass through it"),
			fmt.Sprintf("run chmod o+x %s, or move paths.scratch", dir))
	}
	return nil
}

func (t *tenant) stop() error {
	if t.process == nil {
		return nil
	}
	err := t.process.Stop(stopGrace)
	var exit *command.ExitError
	if errors.As(err, &exit) {
		return nil // it was gone already, which is all that is wanted here
	}
	return err
}

// unprivileged returns the user to run servers as; nil when we are unprivileged
// ourselves. PostgreSQL refuses root.
func unprivileged(name string) (*command.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	names := []string{name}
	if name == "" {
		names = []string{"saoluu-sandbox", "nobody"}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := cmp.Or(err1, err2); err != nil || uid == 0 {
			return nil, fault.New(fault.Usage, fmt.Sprintf("user %q", n), errors.New("cannot run a throwaway server"), "name an unprivileged user")
		}
		return &command.Credential{UID: uint32(uid), GID: uint32(gid)}, nil
	}
	return nil, fault.New(fault.MissingTool, "find an unprivileged user for throwaway servers", fs.ErrNotExist, "make one: useradd --system "+strings.TrimSpace(names[0]))
}

// shedCapabilities returns what to put in front of a program so that it gets none
// of our ambient capabilities (capabilities(7)). The service has one that reads
// every file; what a restored database makes its server run must not have it.
func shedCapabilities() ([]string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(status)) {
		if set, ok := strings.CutPrefix(line, "CapAmb:"); ok && strings.Trim(set, " \t\n0") == "" {
			return nil, nil
		}
	}
	setpriv, err := command.LookPath("setpriv")
	if err != nil {
		return nil, err
	}
	return []string{setpriv, "--ambient-caps=-all", "--inh-caps=-all", "--"}, nil
}

// boundMemory returns what to put in front of a program so that it, and each that it
// starts, can have so many bytes for itself (RLIMIT_DATA, getrlimit(2)). Only the program
// itself may do that: we may not change the limits of another user's.
func boundMemory(most int64) ([]string, error) {
	if most == 0 {
		return nil, nil
	}
	prlimit, err := command.LookPath("prlimit")
	if err != nil {
		return nil, err
	}
	return []string{prlimit, fmt.Sprintf("--data=%d", most), "--"}, nil
}
