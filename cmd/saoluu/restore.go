package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"saoluu/internal/fault"
	"saoluu/jobs"
)

const restoreHelp = `restore brings a job's data back: a tree into a folder, an image into a file, a
folder or onto a device that nobody uses, a system that was saved file by file
likewise (for a file or a device its disk is made anew), a database dump into a
file or folder, a PostgreSQL dump into a new database of a running server
(postgresql://user@host/name; the password from PGPASSFILE or PGPASSWORD), a
MariaDB dump likewise (mariadb://user@host/name, or user@/name?socket=PATH; the
password from MYSQL_PWD), a Redis dump into an empty server (redis://user@host,
or user@/?socket=PATH; the password from REDISCLI_AUTH), where --overwrite makes
it hold what the dump holds and nothing else. It shows its plan first and never overwrites anything without --overwrite. Streams
are compared with the digest they were saved with before they take their name.

It takes the newest good run. A run that is not good, such as one that could not
read every file, is taken when --run names it, and a warning says what is missing.`

func restoreCommand(a *app) *cobra.Command {
	var date, to string
	var pick jobs.Pick
	var overwrite, dry, asJSON bool
	c := &cobra.Command{Use: "restore JOB --to DESTINATION", Short: "bring data back", Long: restoreHelp,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs}
	c.Flags().StringVar(&to, "to", "", "`DESTINATION`: a folder, a file, postgresql://…, mariadb://… or redis://…")
	c.Flags().StringVar(&date, "date", "", "take the newest good run up to this `DATE` (YYYY-MM-DD)")
	c.Flags().StringVar(&pick.Run, "run", "", "take this `RUN`, even if it is not good")
	c.Flags().StringVar(&pick.Part, "part", "", "bring back this `PART` alone, or this database of several")
	c.Flags().StringVar(&pick.Target, "target", "", "take the copy on this `TARGET`")
	c.Flags().BoolVar(&overwrite, "overwrite", false, "write over what is there")
	c.Flags().BoolVar(&dry, "dry-run", false, "show the plan and stop")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if to == "" {
			return fault.New(fault.Usage, "restore", errors.New("no destination"), "say --to DIR, --to FILE, or --to with the address of a server")
		}
		if err := parseDate(date, &pick.Date); err != nil {
			return err
		}
		if pick.Run != "" && date != "" {
			return fault.New(fault.Usage, "restore", errors.New("--run and --date exclude each other"), "leave one of them out")
		}
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		job, err := oneJob(s.Config, args[0])
		if err != nil {
			return err
		}
		plan, err := s.PlanRestore(cmd.Context(), job, pick, to, overwrite)
		if err != nil {
			return err
		}
		printPlan(s, plan)
		if dry {
			return nil
		}
		plan.By = userName()
		fin, err := s.Restore(cmd.Context(), plan)
		s.meter.done(job.Name)
		if asJSON {
			return errors.Join(err, printJSON(os.Stdout, fin))
		}
		if err == nil {
			fmt.Printf("%s: restored %s in %s\n", job.Name, size(fin.Bytes), fin.FinishedAt.Sub(fin.StartedAt).Round(100*time.Millisecond))
		}
		return err
	}
	return c
}

// printPlan says what will happen, for a person.
func printPlan(s *site, p jobs.RestorePlan) {
	fmt.Fprintf(os.Stderr, "saoluu: restore %q as of %s (run %s) from target %q to %s %s\n",
		p.Job.Name, when(p.ConsistentAt, s.Config.Site.Location), p.Run, p.Target, p.Kind, safe(shownDestination(p)))
	for _, part := range p.Parts {
		fmt.Fprintf(os.Stderr, "saoluu:   %s: %s, snapshot %.12s\n", safe(part.Name), size(part.Bytes), part.Snapshot)
	}
	if p.Kind == "mariadb" {
		fmt.Fprintln(os.Stderr, "saoluu:   users are not made: load globals.sql afterwards (restore --to DIR gives it)")
	}
	if p.Kind == "redis" {
		fmt.Fprintln(os.Stderr, "saoluu:   keys that have expired since do not come back; users and settings are not in the dump")
	}
	if p.Kind == "postgresql" {
		fmt.Fprintln(os.Stderr, "saoluu:   roles are not made: load globals.sql first (restore --to DIR gives it)")
	}
	if slices.ContainsFunc(p.Parts, jobs.RestorePart.IsCluster) {
		fmt.Fprintln(os.Stderr, "saoluu:   it becomes the data folder of a PostgreSQL server: docs/how-to/postgres.md says how it is started")
	}
	if slices.ContainsFunc(p.Parts, jobs.RestorePart.IsMariabackup) {
		fmt.Fprintln(os.Stderr, "saoluu:   it becomes the data folder of a MariaDB server: docs/how-to/mariadb.md says how it is started")
	}
	if p.Rebuild {
		fmt.Fprintln(os.Stderr, "saoluu:   the disk is made anew: its table, file systems and boot loader as they were, and the files in them")
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(os.Stderr, "saoluu: warning: %s\n", clip(safe(w)))
	}
	if p.Overwrite {
		fmt.Fprintln(os.Stderr, "saoluu:   what is there will be written over")
	}
}

// shownDestination leaves out an address, which may carry a password.
func shownDestination(p jobs.RestorePlan) string {
	if p.ToServer() {
		return "server"
	}
	return p.To
}

// userName names who asked, for the record.
func userName() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	u, err := user.Current()
	if err != nil {
		return fmt.Sprintf("uid %d", os.Getuid())
	}
	return u.Username
}
