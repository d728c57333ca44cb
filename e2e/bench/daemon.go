package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"saoluu/internal/command"
)

// daemon measures a daemon of 10,000 jobs over a restic that does nothing: its
// start, at rest, and when all jobs are due in the same minute.
func daemon(ctx context.Context, b *bench) error {
	const n = 10_000
	trees, err := configTrees(b.dir+"/trees", 1, 1)
	if err != nil {
		return err
	}
	repo, err := b.newStub("stub")
	if err != nil {
		return err
	}
	var jobs []job
	for i := range n {
		jobs = append(jobs, filesJob(i, trees[0]))
	}
	s, err := b.newSite(ctx, "site", repo, 4, jobs)
	if err != nil {
		return err
	}
	rest := 10 * time.Second
	var start, processor, resident, idle []float64
	for range b.rounds {
		d, err := s.daemon(ctx)
		if err != nil {
			return err
		}
		processor = append(processor, d.processor().Seconds())
		wait(ctx, time.Second) // it gives back what the start needed
		before := d.processor()
		wait(ctx, rest)
		idle = append(idle, per(d.processor()-before, int(rest/time.Second)))
		resident = append(resident, d.status("VmRSS"))
		start = append(start, d.ready.Seconds())
		if err := d.stop(); err != nil {
			return err
		}
	}
	b.add(fmt.Sprintf("start of %d jobs until READY=1", n), "s", atMost(0.5), start...)
	b.add("the same, processor", "s", nil, processor...)
	b.add("resident memory at rest", "MiB", atMost(40), resident...)
	b.add("processor at rest, a second", "ms", nil, idle...)
	return b.burst(ctx, s, jobs)
}

// burst lets all jobs be due in the next minute but one.
func (b *bench) burst(ctx context.Context, s site, jobs []job) error {
	zone, err := time.LoadLocation("Asia/Ho_Chi_Minh") // the default of a site
	if err != nil {
		return err
	}
	due := time.Now().Truncate(time.Minute).Add(time.Minute)
	if time.Until(due) < 20*time.Second {
		due = due.Add(time.Minute)
	}
	if err := s.configure(4, "daily at "+due.In(zone).Format("15:04"), jobs); err != nil {
		return err
	}
	d, err := s.daemon(ctx)
	if err != nil {
		return err
	}
	before, err := s.repo.count()
	if err != nil {
		return errors.Join(err, d.stop())
	}
	wait(ctx, time.Until(due)-time.Second)
	if err := d.forgetPeak(); err != nil {
		return errors.Join(err, d.stop())
	}
	wait(ctx, time.Until(due))
	b.say("all %d jobs are due", len(jobs))
	limit := 15 * time.Minute
	if b.quick {
		limit = 30 * time.Second
	}
	most, done, cpu := 0, 0, d.processor()
	begin := time.Now()
	for done < len(jobs) && time.Since(begin) < limit && ctx.Err() == nil {
		wait(ctx, 50*time.Millisecond)
		most = max(most, d.children())
		now, err := s.repo.count()
		if err != nil {
			return errors.Join(err, d.stop())
		}
		done = now - before
	}
	took := time.Since(begin)
	if done == 0 {
		return errors.Join(errors.New("no job was run when all were due"), d.stop())
	}
	b.add("resident memory at most, all due in one minute", "MiB", atMost(60), d.status("VmHWM"))
	b.add("restic processes at once, of a limit of 4", "", atMost(4), float64(most))
	b.add("jobs done", "", nil, float64(done))
	b.add("a job, from due to the last one done", "ms", nil, per(took, done))
	b.add("the daemon's processor, a job", "ms", nil, per(d.processor()-cpu, done))
	return d.stop()
}

// A running is a daemon under way.
type running struct {
	*command.Process
	ready  time.Duration // from the start of the process to READY=1
	cancel context.CancelFunc
}

// daemon starts one and waits until it says that it is ready.
func (s site) daemon(ctx context.Context) (*running, error) {
	name := fmt.Sprintf("@saoluu-bench-%d", os.Getpid())
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := s.command("daemon")
	c.Env = append(c.Env, "NOTIFY_SOCKET="+name)
	begin := time.Now()
	p, err := command.Start(ctx, c)
	if err != nil {
		cancel()
		return nil, errors.Join(err, socket.Close())
	}
	d := &running{Process: p, cancel: cancel}
	ready := make(chan time.Duration, 1)
	go func() { // reads until the socket is closed: the daemon's words must not pile up
		defer socket.Close()
		buf := make([]byte, 4096)
		for {
			n, _, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			if strings.HasPrefix(string(buf[:n]), "READY=1") {
				select {
				case ready <- time.Since(begin):
				default:
				}
			}
			if strings.HasPrefix(string(buf[:n]), "STOPPING=1") {
				return
			}
		}
	}()
	exited := make(chan error, 1)
	go func() {
		_, err := p.Wait()
		exited <- err
		_ = socket.Close() // the reader ends
	}()
	select {
	case d.ready = <-ready:
		return d, nil
	case err := <-exited:
		cancel()
		return nil, fmt.Errorf("the daemon ended before it was ready: %w", err)
	case <-time.After(2 * time.Minute):
		cancel()
		return nil, errors.New("the daemon was not ready after two minutes")
	}
}

// stop ends the daemon in order.
func (d *running) stop() error {
	d.cancel()
	_, err := d.Wait()
	if errors.Is(err, context.Canceled) {
		return nil // our own doing
	}
	return err
}

// status returns a size of /proc/PID/status in MiB.
func (d *running) status(key string) float64 {
	text, _, _ := strings.Cut(lineOf(filepath.Join("/proc", strconv.Itoa(d.Pid()), "status"), key), " ")
	kib, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}

// forgetPeak makes VmHWM begin anew (proc(5), clear_refs), so that it does not
// show the start.
func (d *running) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", d.Pid()), []byte("5"), 0)
}

// processor is the time the daemon has used itself, without its children.
func (d *running) processor() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.Pid()))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	var ticks int64
	for _, i := range []int{11, 12} { // utime and stime (proc(5), counted after the name)
		if i < len(fields) {
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond // 100 ticks a second on Linux
}

// children counts the programs the daemon has under way.
func (d *running) children() int {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.Pid()))
	if err != nil {
		return 0
	}
	n := 0
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err == nil {
			n += len(strings.Fields(string(text)))
		}
	}
	return n
}

// wait sleeps unless ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
