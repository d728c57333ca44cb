// Command saoluu runs an agency's encrypted backups, proves by restore tests
// that they come back, and reports on them with evidence.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// version is set by the linker (see Makefile).
var version = "development"

// defaultConfig is read when neither --config nor SAOLUU_CONFIG says otherwise.
const defaultConfig = "/etc/saoluu/saoluu.toml"

func main() { os.Exit(run(os.Args[1:])) }

// run is main without the exit.
func run(args []string) int {
	ctx, stop := signalled(context.Background())
	defer stop()
	if len(args) > 0 && args[0] == "pump" {
		return command.PumpMain(ctx, args[1:], os.Stdout, os.Stderr)
	}
	if len(args) > 0 && args[0] == "confine" {
		return command.ConfineMain(args[1:], os.Stderr)
	}
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	printError(os.Stderr, err)
	return exitCode(err)
}

// signalled ends the context on SIGINT and SIGTERM with a cause that says so.
func signalled(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s, ok := <-signals
		if ok {
			cancel(fault.New(fault.Cancelled, "stopped by "+s.String(), nil, ""))
		}
	}()
	return ctx, func() { signal.Stop(signals); close(signals); cancel(nil) }
}

const rootHelp = `saoluu runs encrypted backups of databases, configurations and files, proves by
restore tests that they come back, and reports on them with evidence that can be
verified on another machine.

Jobs are written in TOML. Start with "saoluu config example", then "saoluu init",
"saoluu backup --all", "saoluu test --all", "saoluu report".`

// newRoot builds the command tree; one file per command.
func newRoot() *cobra.Command {
	app := &app{}
	root := &cobra.Command{
		Use: "saoluu", Short: "backups that prove they come back", Long: rootHelp, Version: version,
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.New(fault.Usage, cmd.CommandPath(), err, "run \""+cmd.CommandPath()+" --help\"")
	})
	path := os.Getenv("SAOLUU_CONFIG")
	if path == "" {
		path = defaultConfig
	}
	root.PersistentFlags().StringVar(&app.configPath, "config", path, "configuration `FILE` (or $SAOLUU_CONFIG)")
	root.AddCommand(
		initCommand(app), daemonCommand(app), backupCommand(app), testCommand(app), restoreCommand(app), archiveCommand(app),
		upkeepCommand(app), targetCommand(app), recoverCommand(), holdCommand(app), mediumCommand(app), keyCommand(app), retentionCommand(app), changesCommand(app), statusCommand(app), catalogCommand(app), reportCommand(app), ledgerCommand(app),
		evidenceCommand(app), configCommand(app), packsCommand(), doctorCommand(app), docsCommand(root),
	)
	usageErrors(root)
	return root
}

// usageErrors makes wrong arguments exit with the usage code. A command that
// only gathers others shows its help, and takes no word it does not know.
func usageErrors(c *cobra.Command) {
	if c.HasSubCommands() && c.RunE == nil {
		c.Args = cobra.NoArgs
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fault.New(fault.Usage, cmd.CommandPath(), err, "run \""+cmd.CommandPath()+" --help\"")
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}
