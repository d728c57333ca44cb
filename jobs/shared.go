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
	files   map[config.Secret]int // their numbers
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
// readable by our own user alone under /proc while we live, and gone when we die. It is
// held by its number alone: an os.File is closed as soon as the collector finds that
// nobody refers to it, under the hands of a child that has only its path.
func (k *Shared) inMemory(s config.Secret, read func() ([]byte, error)) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if fd, ok := k.files[s]; ok {
		return pathOf(fd), nil
	}
	content, err := read()
	if err != nil {
		return "", err
	}
	fd, err := unix.MemfdCreate("saoluu-secret", unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("keep secret %q in memory: %w", s.String(), err)
	}
	if err := fill(fd, content); err != nil {
		return "", errors.Join(fmt.Errorf("keep secret %q in memory: %w", s.String(), err), unix.Close(fd))
	}
	if k.files == nil {
		k.files = map[config.Secret]int{}
	}
	k.files[s] = fd
	return pathOf(fd), nil
}

// fill writes a secret into a file in memory.
func fill(fd int, content []byte) error {
	// ssh refuses a private key that others could read.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return err
	}
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		content = content[n:]
	}
	return nil
}

// forget lets go of the secrets in memory. A Shared that is made for one piece of
// work must be told when it is over.
func (k *Shared) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, fd := range k.files {
		_ = unix.Close(fd) // it is only in memory
	}
	k.files = nil
}

func pathOf(fd int) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd) }

// Given keeps a secret that came with the environment where a reference can lead
// to it, and returns the reference.
func (k *Shared) Given(name, text string) (config.Secret, error) {
	path, err := k.inMemory(config.Secret("credential:"+name), func() ([]byte, error) { return []byte(text), nil })
	return config.Secret("file:" + path), err
}
