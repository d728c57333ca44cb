package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"saoluu/internal/command"
)

// disks are what the measurement of images reads: a disk that is half empty, and for
// restic's stream the half that is not.
type disks struct {
	disk, used string
	size       int64 // of what is used
}

// changedBlock is the unit in which file systems and databases write.
const changedBlock = 4 << 10

func (b *bench) newDisks(size int64) (d disks, err error) {
	d = disks{filepath.Join(b.dir, "disk.img"), filepath.Join(b.dir, "used"), size}
	noise := rand.NewChaCha8([32]byte{7})
	for _, path := range []string{d.disk, d.used} {
		noise.Seed([32]byte{7})
		file, err := os.Create(path)
		if err != nil {
			return d, err
		}
		if _, err := io.CopyN(file, noise, size); err != nil {
			return d, err
		}
		if path == d.disk {
			err = file.Truncate(2 * size)
		}
		if err := joined(err, file.Sync(), file.Close()); err != nil {
			return d, err
		}
	}
	return d, nil
}

func joined(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// change writes over 2 % of the blocks, in runs of 1 to 64, and returns how many bytes.
func (d disks) change() (changed int64, err error) {
	var files []*os.File
	for _, path := range []string{d.disk, d.used} {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		files = append(files, file)
	}
	noise := rand.NewChaCha8([32]byte{8})
	pick := rand.New(noise)
	for changed < d.size/50 {
		run := make([]byte, (1+pick.IntN(64))*changedBlock)
		at := pick.Int64N((d.size-int64(len(run)))/changedBlock) * changedBlock
		_, _ = noise.Read(run)
		for _, file := range files {
			if _, err := file.WriteAt(run, at); err != nil {
				return 0, err
			}
		}
		changed += int64(len(run))
	}
	return changed, nil
}

// image compares backups of a disk, half of which is used, with restic reading the
// used half as a stream: on a first day, the day after without a change, and a day
// on which 2 % changed.
func image(ctx context.Context, b *bench) error {
	size := int64(512 << 20)
	if b.quick {
		size = 128 << 20
	}
	b.say("making a disk of %d MiB", 2*size>>20)
	d, err := b.newDisks(size)
	if err != nil {
		return err
	}
	var repos [2]repository
	for n, name := range []string{"ours", "bare"} {
		if repos[n], err = b.newRepository(ctx, name); err != nil {
			return err
		}
	}
	s, err := b.newSite(ctx, "site", repos[0], 1, []job{{"image", fmt.Sprintf("{ type = \"image\", path = %q }", d.disk)}})
	if err != nil {
		return err
	}
	var peaks [2]int64
	night := func() (p pair, grown [2]int64, err error) {
		ours, bare := s.command("backup", "--all"), repos[1].command("backup", "--stdin", "--stdin-filename", "disk")
		for n, c := range []command.Cmd{ours, bare} {
			before, err := repos[n].bytes()
			if err != nil {
				return p, grown, err
			}
			used, err := os.Open(d.used)
			if err != nil {
				return p, grown, err
			}
			if n == 1 {
				c.Stdin = used
			}
			var peak int64
			took, err := timed(func() (err error) { peak, err = watched(ctx, c); return err })
			if err := joined(err, used.Close()); err != nil {
				return p, grown, err
			}
			after, err := repos[n].bytes()
			if err != nil {
				return p, grown, err
			}
			grown[n], peaks[n] = after-before, max(peaks[n], peak)
			if n == 0 {
				p.ours = took
			} else {
				p.bare = took
			}
		}
		return p, grown, nil
	}
	for _, day := range []struct {
		what string
		goal *goal
	}{{"first backup", atMost(1.11)}, {"nothing changed", atMost(1.11)}, {"2 % changed", atMost(1.11)}} {
		changed := int64(0)
		if strings.HasPrefix(day.what, "2 %") {
			if changed, err = d.change(); err != nil {
				return err
			}
		}
		p, grown, err := night()
		if err != nil {
			return err
		}
		b.add(day.what+": wall, to restic's stream", "x", day.goal, wallRatio(p))
		b.add("the same, processor", "x", nil, cpuRatio(p))
		if changed > 0 {
			b.add("growth, to the bytes that changed", "x", atMost(2), float64(grown[0])/float64(changed))
			b.add("the same of restic's stream", "x", nil, float64(grown[1])/float64(changed))
		}
	}
	b.add("peak memory of a run with its restic, above bare restic's", "MiB", atMost(64), float64(peaks[0]-peaks[1])/(1<<20))
	return imageBack(ctx, b, s, repos[1])
}

// imageBack compares the restore with restic writing the stream to a file.
func imageBack(ctx context.Context, b *bench, s site, bare repository) error {
	to := filepath.Join(b.dir, "back.img")
	pairs, err := b.inTurn(func(int) (cost, error) {
		_ = os.Remove(to)
		return spend(ctx, s.command("restore", "image", "--to", to))
	}, func(int) (cost, error) {
		file, err := os.Create(to + ".bare")
		if err != nil {
			return cost{}, err
		}
		defer file.Close()
		c := bare.command("dump", "latest", "/disk")
		c.Stdout = file
		return timed(func() error {
			_, err := command.Run(ctx, c)
			return joined(err, file.Sync())
		})
	})
	if err != nil {
		return err
	}
	b.add("restore: wall, to restic dumping the stream to a file", "x", nil, each(pairs, wallRatio)...)
	return nil
}

// watched runs a program and returns the most memory that it and those it started
// held at once, as far as looking every few milliseconds shows.
func watched(ctx context.Context, c command.Cmd) (peak int64, err error) {
	p, err := command.Start(ctx, c)
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.Done():
			_, err := p.Wait()
			return peak, err
		case <-tick.C:
			peak = max(peak, resident(p.Pid()))
		}
	}
}

// resident is the memory of a process and all below it, in bytes.
func resident(pid int) (sum int64) {
	dir := fmt.Sprintf("/proc/%d", pid)
	if text, err := os.ReadFile(dir + "/statm"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			sum = pages * int64(os.Getpagesize())
		}
	}
	tasks, _ := filepath.Glob(dir + "/task/*/children")
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += resident(n)
			}
		}
	}
	return sum
}
