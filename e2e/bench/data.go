package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A maker writes files whose content and size depend on its seed alone.
type maker struct {
	bytes *rand.ChaCha8
	rng   *rand.Rand
	buf   []byte
}

func newMaker(seed byte) *maker {
	source := rand.NewChaCha8([32]byte{seed})
	return &maker{bytes: source, rng: rand.New(source)}
}

// size draws a file size: many small files, few large ones.
func (m *maker) size(mean int) int {
	return max(64, int(m.rng.ExpFloat64()*float64(mean)))
}

// random fills the buffer with what cannot be compressed.
func (m *maker) random(n int) []byte {
	m.grow(n)
	_, _ = m.bytes.Read(m.buf) // never fails (math/rand/v2)
	return m.buf
}

// text fills the buffer with words, which compress about as office files do.
func (m *maker) text(n int) []byte {
	const words = "sao luu ngay thang nam phong van ban quan ly ho so cong viec du lieu he thong bao cao so do tinh huyen " +
		"xa quyet dinh thong tu nghi dinh co quan to chuc ca nhan dich vu may chu mang an toan khoi phuc kiem tra"
	m.grow(n)
	var bits [8]byte
	for i := 0; i < n; {
		binary.LittleEndian.PutUint64(bits[:], m.bytes.Uint64())
		at := int(bits[0]) % (len(words) - 16)
		i += copy(m.buf[i:], words[at:at+4+int(bits[1])%12])
		i += copy(m.buf[i:], fmt.Sprintf("%x", bits[2:4]))
	}
	return m.buf
}

func (m *maker) grow(n int) {
	if cap(m.buf) < n {
		m.buf = make([]byte, n)
	}
	m.buf = m.buf[:n]
}

// office writes a tree of n files in folders of twenty, total bytes in all on
// average, half text and half random. Trees of different seeds have nothing in
// common.
func office(dir string, n int, total int64, seed byte) error {
	m := newMaker(seed)
	mean := int(total / int64(n))
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprintf("%02d", i/2000), fmt.Sprintf("%04d", i/20))
		if i%20 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		size := m.size(mean)
		content := m.text
		if i%2 == 1 {
			content = m.random
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%05d.doc", i)), content(size), 0o644); err != nil {
			return err
		}
	}
	unix.Sync() // the write-back of these would weigh on whoever runs first
	return nil
}

// configTrees writes n folders of files small text files and returns their paths.
func configTrees(dir string, n, files int) ([]string, error) {
	m := newMaker(2)
	var paths []string
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprintf("tree-%03d", i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
		for j := range files {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%03d.conf", j)), m.text(m.size(2000)), 0o644); err != nil {
				return nil, err
			}
		}
		paths = append(paths, folder)
	}
	return paths, nil
}
