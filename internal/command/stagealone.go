package command

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// network gives the stage addresses to listen on: its own loopback, and any other as if
// it were there (ip(7), IP_FREEBIND for all). Where the kernel refuses, a program that
// needs it says so.
func (s stage) network() {
	for _, family := range []string{"ipv4", "ipv6"} {
		if file, err := os.OpenFile("/proc/sys/net/"+family+"/ip_nonlocal_bind", os.O_WRONLY, 0); err == nil {
			_, _ = file.WriteString("1") // of this namespace alone
			_ = file.Close()
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	_ = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// aloneHere reports whether this user namespace has one user and nobody else
// (user_namespaces(7)), as those have that nobody privileged has made.
func aloneHere() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	fields := bytes.Fields(ids)
	return err == nil && len(fields) == 3 && string(fields[2]) == "1"
}

// ignoreOwners lets this thread, and what it becomes, believe that it gave files away:
// where there is nobody to give them to, a service that wants its folders to belong to a
// user of its own would take that for an error in its configuration. All of it happens in
// files that are thrown away.
func ignoreOwners() error {
	arch, calls := ownerCalls()
	if len(calls) == 0 {
		return nil // such a service then fails, and is not good
	}
	const number, architecture = 0, 4 // where seccomp_data has them (seccomp(2))
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: architecture},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: uint8(len(calls)) + 1, K: arch},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
	}
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(calls) - i), K: call})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO}) // error 0: done
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("let owners be: %w", err)
	}
	runtime.KeepAlive(filter)
	return nil
}

// ownerCalls returns the name of this architecture in the kernel, and the numbers of its
// calls that change owners (linux/audit.h, asm/unistd.h).
func ownerCalls() (arch uint32, calls []uint32) {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64, []uint32{92, 93, 94, 260} // chown, fchown, lchown, fchownat
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64, []uint32{54, 55} // fchownat, fchown
	}
	return 0, nil
}
