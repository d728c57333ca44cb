package command

import (
	"fmt"
	"os"
	"strings"

	"saoluu/internal/fault"
)

// Counts returns an error when this machine does not tell how much a program read.
func Counts() error {
	_, err := readBy(os.Getpid())
	return err
}

// readBy returns how many bytes a process has read by now (proc_pid_io(5), rchar:
// what its system calls took from files, pipes and sockets). It works until the
// process has been reaped.
func readBy(pid int) (int64, error) {
	op := "count what a program reads"
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, fault.New(fault.Unknown, op, err, "use a kernel with CONFIG_TASK_IO_ACCOUNTING")
	}
	for line := range strings.Lines(string(text)) {
		var n int64
		if _, err := fmt.Sscanf(line, "rchar: %d", &n); err == nil {
			return n, nil
		}
	}
	return 0, fault.New(fault.Unknown, op, fmt.Errorf("no rchar in /proc/%d/io", pid), "")
}
