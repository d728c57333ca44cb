package jobs

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"saoluu/config"
	"saoluu/restic"
)

// Shared is what all runners of one process share: secrets handed to child
// programs, and the gates that order access to the repositories. The zero value
// is ready.
type Shared struct {
	mu    sync.Mutex
	files map[config.Secret]*os.File
	gates map[string]*restic.Gate
}

// gate returns the one gate of a target in this process.
func (k *Shared) gate(dir, target string, parallel int) *restic.Gate {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := fmt.Sprintf("%s/%d", target, parallel)
	if k.gates == nil {
		k.gates = map[string]*restic.Gate{}
	}
	if k.gates[name] == nil {
		k.gates[name] = restic.NewGate(dir, target, parallel)
	}
	return k.gates[name]
}

// secretPath returns a path under which a child of ours can read a secret: a file
// that exists only in memory (memfd_create(2)), readable by our own user under
// /proc while we live, and gone when we die.
func (k *Shared) secretPath(s config.Secret, where config.Secrets) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f, ok := k.files[s]; ok {
		return pathOf(f), nil
	}
	text, err := s.Resolve(where)
	if err != nil {
		return "", err
	}
	fd, err := unix.MemfdCreate("saoluu-secret", unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("keep secret %q in memory: %w", s.String(), err)
	}
	f := os.NewFile(uintptr(fd), "saoluu-secret")
	if _, err := f.WriteString(text + "\n"); err != nil {
		f.Close()
		return "", fmt.Errorf("keep secret %q in memory: %w", s.String(), err)
	}
	if k.files == nil {
		k.files = map[config.Secret]*os.File{}
	}
	k.files[s] = f
	return pathOf(f), nil
}

func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }
