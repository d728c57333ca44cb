package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"saoluu/catalog"
	"saoluu/catalog/catalogtest"
	"saoluu/internal/command"
)

// large measures what people wait for when the history is long. Each command is
// a process of its own, as they would run it.
func large(ctx context.Context, b *bench) error {
	const jobs = 1000
	runs := 1_000_000
	if b.quick {
		runs = 50_000
	}
	repo, err := b.newStub("stub")
	if err != nil {
		return err
	}
	s := site{program: filepath.Join(b.root, "bin", "saoluu"), dir: filepath.Join(b.dir, "site"), repo: repo}
	if err := os.MkdirAll(filepath.Join(s.dir, "state"), 0o700); err != nil {
		return err
	}
	var list []job
	for i := range jobs {
		list = append(list, job{catalogtest.JobName(i), `{ type = "files", paths = ["/etc"] }`})
	}
	if err := s.configure(4, "daily at 08:00", list); err != nil {
		return err
	}
	b.say("filling %d runs of %d jobs", runs, jobs)
	now := time.Now().UTC()
	size, err := fill(ctx, filepath.Join(s.dir, "state", "catalog.db"), now, jobs, runs)
	if err != nil {
		return err
	}
	if info, err := os.Stat(filepath.Join(s.dir, "state", "catalog.db")); err == nil {
		b.add("file, for each run with its slot and events", "bytes", nil, float64(info.Size())/float64(runs))
	}
	status, err := b.times(b.rounds*3, func() error { return look(ctx, s) })
	if err != nil {
		return err
	}
	b.add("status as a cold command", "ms", atMost(50), milliseconds(walls(status))...)
	b.add("the same, processor", "ms", nil, milliseconds(cpus(status))...)
	for _, format := range []string{"json", "html"} {
		report, err := b.times(b.rounds, func() error {
			_, err := command.Run(ctx, s.command("report", "--period", now.Format("2006"), "--format", format, "-o", filepath.Join(s.dir, "report")))
			return err
		})
		if err != nil {
			return err
		}
		b.add("report of a year, "+format, "s", atMost(2), seconds(walls(report))...)
		b.add("the same, processor", "s", nil, seconds(cpus(report))...)
	}
	rebuild, err := b.times(max(1, b.rounds/3), func() error {
		_, err := command.Run(ctx, s.command("catalog", "rebuild"))
		return err
	})
	if err != nil {
		return err
	}
	var speed []float64
	for _, c := range rebuild {
		speed = append(speed, float64(size)/c.wall.Seconds())
	}
	b.add("rebuild of the tables", "events/s", atLeast(100_000), speed...)
	return nil
}

// fill makes the catalog and returns the number of its entries.
func fill(ctx context.Context, path string, end time.Time, jobs, runs int) (int64, error) {
	clock := catalogtest.NewClock(end)
	c, err := catalog.Create(ctx, catalog.Options{Path: path, Now: clock.Now, Site: "BENCH"})
	if err != nil {
		return 0, err
	}
	err = catalogtest.Fill(ctx, c, clock, jobs, runs)
	size, sized := c.TreeSize(ctx)
	return size, errors.Join(err, sized, c.Close())
}

// look runs status and makes sure that it looked: its exit status says how things
// stand.
func look(ctx context.Context, s site) error {
	var out bytes.Buffer
	c := s.command("status")
	c.Stdout = &out
	_, err := command.Run(ctx, c)
	var exit *command.ExitError
	if errors.As(err, &exit) && exit.Code >= 1 && exit.Code <= 3 {
		err = nil
	}
	if err == nil && !bytes.Contains(out.Bytes(), []byte(catalogtest.JobName(999))) {
		err = fmt.Errorf("status does not show every job: %.200s", out.Bytes())
	}
	return err
}

// times runs do n times.
func (b *bench) times(n int, do func() error) ([]cost, error) {
	var all []cost
	for range n {
		c, err := timed(do)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func walls(all []cost) (d []time.Duration) {
	for _, c := range all {
		d = append(d, c.wall)
	}
	return d
}

func cpus(all []cost) (d []time.Duration) {
	for _, c := range all {
		d = append(d, c.cpu)
	}
	return d
}

func milliseconds(all []time.Duration) (values []float64) {
	for _, d := range all {
		values = append(values, per(d, 1))
	}
	return values
}

func seconds(all []time.Duration) (values []float64) {
	for _, d := range all {
		values = append(values, d.Seconds())
	}
	return values
}
