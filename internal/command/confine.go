package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
)

// confinedReads are what programs of the system need to run: their code, and who
// is who. Nothing here is anybody's secret.
var confinedReads = []string{
	"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/alternatives", "/etc/postgresql-common", "/etc/ssl/certs",
}

// confinedFiles are single files beside them.
var confinedFiles = []string{
	"/etc/ld.so.cache", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime", "/etc/timezone", "/etc/hosts", "/dev/urandom",
}

// ConfineMain is the shim that runs a program which may run other people's code as
// our own user: "confine [--read DIR]... [--write DIR]... -- PROGRAM ARG...". The
// program, and whatever it starts, sees the system's programs and the named
// folders and nothing else: no state folder, no keys, no /proc, no network but
// Unix sockets (landlock(7)). On a kernel without Landlock it says so on w and
// runs the program all the same. It returns only when it fails.
func ConfineMain(args []string, w io.Writer) int {
	read, write, argv, err := confineArgs(args)
	if err == nil {
		err = confined(read, write, w)
	}
	if err == nil {
		err = syscall.Exec(argv[0], argv, os.Environ())
	}
	fmt.Fprintf(w, "confine: %v\n", err)
	return 125 // what env(1) and timeout(1) return when they themselves fail
}

func confineArgs(args []string) (read, write, argv []string, err error) {
	for len(args) >= 2 && args[0] != "--" {
		switch args[0] {
		case "--read":
			read = append(read, args[1])
		case "--write":
			write = append(write, args[1])
		default:
			return nil, nil, nil, fmt.Errorf("unknown argument %q", args[0])
		}
		args = args[2:]
	}
	if len(args) < 2 || args[0] != "--" {
		return nil, nil, nil, errors.New("no program")
	}
	return read, write, args[1:], nil
}

func confined(read, write []string, w io.Writer) error {
	if !landlockWorks() {
		fmt.Fprintln(w, "confine: this kernel has no Landlock; the program runs with all rights of its user")
		return nil
	}
	rules := []landlock.Rule{
		landlock.RODirs(append(read, confinedReads...)...).IgnoreIfMissing(),
		landlock.ROFiles(confinedFiles...).IgnoreIfMissing(),
		landlock.RWFiles("/dev/null", "/dev/zero").IgnoreIfMissing(),
		landlock.RWDirs(append(write, "/dev/shm")...),
	}
	return landlock.V6.BestEffort().Restrict(rules...)
}

// landlockWorks asks the kernel for the version of Landlock it has
// (landlock_create_ruleset(2), LANDLOCK_CREATE_RULESET_VERSION).
func landlockWorks() bool {
	const createRuleset, askVersion = 444, 1
	version, _, errno := syscall.Syscall(createRuleset, 0, 0, askVersion)
	return errno == 0 && version > 0
}
