package jobs

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"saoluu/config"
	"saoluu/restic"
)

// Shared is what all runners of one process share: secrets handed to child
// programs, the gates that order access to the repositories, and the copiers
// between them. The zero value is ready.
type Shared struct {
	mu      sync.Mutex
	files   map[config.Secret]*os.File
	gates   map[string]*restic.Gate
	copiers map[[2]string]*copier
}

// copier returns the one that copies from one target to another in this process.
func (k *Shared) copier(from, to string) *copier {
	k.mu.Lock()
	defer k.mu.Unlock()
	way := [2]string{from, to}
	if k.copiers == nil {
		k.copiers = map[[2]string]*copier{}
	}
	if k.copiers[way] == nil {
		k.copiers[way] = &copier{}
	}
	return k.copiers[way]
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

// secretPath returns a path under which a child of ours can read a secret of one
// line.
func (k *Shared) secretPath(s config.Secret, where config.Secrets) (string, error) {
	return k.inMemory(s, func() ([]byte, error) {
		text, err := s.Resolve(where)
		return []byte(text + "\n"), err
	})
}

// keyPath does the same for a private key, which has several lines.
func (k *Shared) keyPath(s config.Secret, where config.Secrets) (string, error) {
	return k.inMemory(s, func() ([]byte, error) { return s.ResolveKey(where) })
}

// inMemory keeps a secret in a file that exists only in memory (memfd_create(2)),
// readable by our own user alone under /proc while we live, and gone when we die.
func (k *Shared) inMemory(s config.Secret, read func() ([]byte, error)) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f, ok := k.files[s]; ok {
		return pathOf(f), nil
	}
	content, err := read()
	if err != nil {
		return "", err
	}
	fd, err := unix.MemfdCreate("saoluu-secret", unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("keep secret %q in memory: %w", s.String(), err)
	}
	f := os.NewFile(uintptr(fd), "saoluu-secret")
	// ssh refuses a private key that others could read.
	if err := f.Chmod(0o600); err != nil {
		return "", errors.Join(fmt.Errorf("keep secret %q in memory: %w", s.String(), err), f.Close())
	}
	if _, err := f.Write(content); err != nil {
		return "", errors.Join(fmt.Errorf("keep secret %q in memory: %w", s.String(), err), f.Close())
	}
	if k.files == nil {
		k.files = map[config.Secret]*os.File{}
	}
	k.files[s] = f
	return pathOf(f), nil
}

// forget lets go of the secrets in memory. A Shared that is made for one piece of
// work must be told when it is over: a file that nothing refers to any more is
// closed under the hands of whoever has its path, and its number goes to another.
func (k *Shared) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		_ = f.Close() // it is only in memory
	}
	k.files = nil
}

func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// Given keeps a secret that came with the environment where a reference can lead
// to it, and returns the reference.
func (k *Shared) Given(name, text string) (config.Secret, error) {
	path, err := k.inMemory(config.Secret("credential:"+name), func() ([]byte, error) { return []byte(text), nil })
	return config.Secret("file:" + path), err
}
