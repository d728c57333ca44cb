package rebuild

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// rights are the capabilities (capabilities(7)) without which a disk is not rebuilt: to
// mount, and to give files the owners, devices and rights they had.
var rights = []struct {
	bit  int
	name string
}{
	{unix.CAP_CHOWN, "CAP_CHOWN"}, {unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"}, {unix.CAP_FOWNER, "CAP_FOWNER"}, {unix.CAP_FSETID, "CAP_FSETID"},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_MKNOD, "CAP_MKNOD"}, {unix.CAP_SETFCAP, "CAP_SETFCAP"},
}

// allowed reports which of the rights this process lacks.
func allowed() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	return lacking(string(status))
}

func lacking(status string) error {
	var has uint64
	for line := range strings.Lines(status) {
		if set, ok := strings.CutPrefix(line, "CapEff:"); ok {
			has, _ = strconv.ParseUint(strings.TrimSpace(set), 16, 64) // none, then
		}
	}
	var lacks []string
	for _, r := range rights {
		if has&(1<<r.bit) == 0 {
			lacks = append(lacks, r.name)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return fault.New(fault.Denied, op, fmt.Errorf("without %s no system can be put into file systems of its own", strings.Join(lacks, ", ")),
		"run it as root, or give the service these capabilities: docs/how-to/images.md")
}
