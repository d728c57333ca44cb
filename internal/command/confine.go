package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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

// confinedNet are the files by which the system's resolver finds other hosts.
var confinedNet = []string{"/etc/resolv.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols"}

// A confinement is what a confined program may see beside the system's programs.
type confinement struct {
	read, write []string
	devices     []string
	network     bool
	stage       stage // where it runs instead, when it has a root
}

// ConfineMain is the shim that runs a program which may run other people's code as
// our own user: "confine [--read PATH]... [--write DIR]... [--device FILE]... [--network]
// -- PROGRAM ARG...". A device can be read, written to and told what its kind knows. The program, and whatever it starts, sees the system's programs and what is
// named and nothing else: no state folder, no keys, no /proc, and without --network no
// network but Unix sockets (landlock(7)). With "--root DIR --tree DIR... [--own PATH]...
// [--empty DIR]..." instead, in namespaces of its own, it runs on a stage of restored trees. On a kernel without Landlock it says so on w
// and runs the program all the same. It returns only when it fails.
func ConfineMain(args []string, w io.Writer) int {
	c, argv, err := confineArgs(args)
	if err == nil {
		err = c.enter(w)
	}
	if err == nil {
		err = syscall.Exec(argv[0], argv, os.Environ())
	}
	fmt.Fprintf(w, "confine: %v\n", err)
	return 125 // what env(1) and timeout(1) return when they themselves fail
}

func confineArgs(args []string) (c confinement, argv []string, err error) {
	for len(args) >= 2 && args[0] != "--" {
		switch args[0] {
		case "--read":
			c.read = append(c.read, args[1])
		case "--write":
			c.write = append(c.write, args[1])
		case "--device":
			c.devices = append(c.devices, args[1])
		case "--root":
			c.stage.root = args[1]
		case "--tree":
			c.stage.trees = append(c.stage.trees, args[1])
		case "--own":
			c.stage.own = append(c.stage.own, args[1])
		case "--empty":
			c.stage.empty = append(c.stage.empty, args[1])
		case "--network":
			c.network = true
			args = args[1:]
			continue
		default:
			return confinement{}, nil, fmt.Errorf("unknown argument %q", args[0])
		}
		args = args[2:]
	}
	if len(args) < 2 || args[0] != "--" {
		return confinement{}, nil, errors.New("no program")
	}
	return c, args[1:], nil
}

func (c confinement) enter(w io.Writer) error {
	if c.stage.root != "" {
		return c.stage.enter()
	}
	if !landlockWorks() {
		fmt.Fprintln(w, "confine: this kernel has no Landlock; the program runs with all rights of its user")
		return nil
	}
	files, dirs := slices.Clone(confinedFiles), slices.Clone(confinedReads)
	for _, path := range c.read {
		if st, err := os.Stat(path); err == nil && !st.IsDir() {
			files = append(files, path)
		} else {
			dirs = append(dirs, path)
		}
	}
	if c.network {
		files = append(files, confinedNet...)
	}
	rules := []landlock.Rule{
		landlock.RODirs(dirs...).IgnoreIfMissing(),
		landlock.ROFiles(files...).IgnoreIfMissing(),
		landlock.RWFiles("/dev/null", "/dev/zero").IgnoreIfMissing(),
		landlock.RWDirs(append(slices.Clone(c.write), "/dev/shm")...),
		landlock.RWFiles(c.devices...).WithIoctlDev().IgnoreIfMissing(),
	}
	confine := landlock.V6.BestEffort()
	if !c.network {
		return confine.Restrict(rules...)
	}
	return errors.Join(confine.RestrictPaths(rules...), confine.RestrictScoped())
}

// landlockWorks asks the kernel for the version of Landlock it has
// (landlock_create_ruleset(2), LANDLOCK_CREATE_RULESET_VERSION).
func landlockWorks() bool {
	const createRuleset, askVersion = 444, 1
	version, _, errno := syscall.Syscall(createRuleset, 0, 0, askVersion)
	return errno == 0 && version > 0
}
