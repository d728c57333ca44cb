package jobs

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"saoluu/config"
)

// A Keyring hands secrets to child programs as files that exist only in memory
// (memfd_create(2)): they are readable by our own user under /proc while we
// live, and gone when we die.
type Keyring struct {
	mu    sync.Mutex
	files map[config.Secret]*os.File
}

// Path returns a path under which a child of ours can read the secret.
func (k *Keyring) Path(s config.Secret, where config.Secrets) (string, error) {
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
