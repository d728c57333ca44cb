package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"saoluu/internal/fault"
	"saoluu/jobs"
)

const daemonHelp = `daemon runs the schedule until it is stopped: backups, restore tests and upkeep.
It tells systemd when it is ready and that it is alive, reads the configuration
again on SIGHUP (and keeps the last good one when the new one is wrong), and
stops in order on SIGTERM. Slots missed while it was down are caught up once.`

// memoryLimit keeps the collector from letting memory grow with the burst of a
// busy minute; it is a soft limit (runtime/debug.SetMemoryLimit).
const memoryLimit = 28 << 20

func daemonCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "daemon", Short: "run the schedule", Long: daemonHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.daemon(cmd.Context()) }}
}

func (a *app) daemon(ctx context.Context) (err error) {
	debug.SetMemoryLimit(memoryLimit)
	c, err := a.load()
	if err != nil {
		return err
	}
	s, err := a.wire(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.Log = zerolog.New(os.Stderr).With().Timestamp().Logger()
	s.Show = nil
	release, ok, err := jobs.LockDaemon(ctx, c)
	if err != nil || !ok {
		return fault.New(fault.Refused, "daemon", errors.Join(errors.New("another daemon of this site is running"), err), "stop it first")
	}
	defer func() { err = errors.Join(err, release()) }()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fault.New(fault.Failed, "read the boot id", err, "")
	}
	d := &jobs.Daemon{
		Runner: s.Runner, Load: a.load, Reload: reload, Boot: strings.TrimSpace(string(boot)),
		Notify: func(state string) { _, _ = systemd.SdNotify(false, state) }, // without systemd there is nobody to tell
	}
	return d.Run(ctx)
}
