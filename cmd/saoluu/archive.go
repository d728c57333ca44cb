package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"saoluu/archive"
	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const archiveHelp = `archive writes a set for optical discs or other media that are kept offline: one
good backup of each job, encrypted to all custodians, cut to discs of a size, with
checksums and instructions. It is restored with age, zstd and tar alone.

It takes the newest good backups, makes DIR/disc-01, DIR/disc-02 … and reads every
volume back from the medium. Put each folder on one disc. The folder must be empty;
without an index.json in it a disc is not finished.

A disc's size is a number and a unit, such as 23GiB for a BD-25 or 4.3GiB for a
DVD. With --identity a custodian also has the set decrypted and its content
compared with what is known of the backups.`

const archiveVerifyHelp = `verify reads every volume of a set and compares it with its checksum. It needs the
discs and no configuration. Name the folder that holds all discs, or each disc's.
With one drive, look at one disc at a time with --partial.

With --identity the set is decrypted to its end, and every file compared with what
was known of the backup when it was made.`

func archiveCommand(a *app) *cobra.Command {
	var q jobs.ArchiveRequest
	var all, asJSON bool
	var volume string
	c := &cobra.Command{Use: "archive JOB...|--all --to DIR --size SIZE", Short: "write backups to offline media", Long: archiveHelp, ValidArgsFunction: a.completeJobs}
	c.Flags().BoolVar(&all, "all", false, "all jobs")
	c.Flags().StringVar(&q.Run, "run", "", "take this `RUN` of the job")
	c.Flags().StringVar(&q.Target, "target", "", "read the copies on this `TARGET`")
	c.Flags().StringVar(&q.Dir, "to", "", "empty `DIR` to write to")
	c.Flags().StringVar(&volume, "size", "", "the most a disc holds, such as 23GiB")
	c.Flags().BoolVar(&q.AnySpace, "any-space", false, "begin although the set may not fit into DIR")
	c.Flags().StringVar(&q.Identity, "identity", "", "`FILE` with a custodian's private key: decrypt and compare the content too")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	c.AddCommand(archiveVerify())
	c.RunE = func(cmd *cobra.Command, names []string) (err error) {
		if q.Size, err = discSize(volume); err != nil {
			return err
		}
		if q.Dir == "" || q.Run != "" && len(names) != 1 {
			return fault.New(fault.Usage, "archive", errors.New("--to is missing, or --run without its job"), "say saoluu archive JOB --run RUN --to DIR --size SIZE")
		}
		if q.Dir, err = filepath.Abs(q.Dir); err != nil {
			return err
		}
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if q.Jobs, err = chosen(s.Config, names, all); err != nil {
			return err
		}
		q.By = userName()
		done, err := s.Archive(cmd.Context(), q)
		s.meter.done("archive")
		for _, w := range done.Warnings {
			fmt.Fprintf(os.Stderr, "saoluu: warning: %s\n", clip(safe(w)))
		}
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(os.Stdout, done.ArchiveWritten)
		}
		printArchived(done)
		return nil
	}
	return c
}

func printArchived(a jobs.Archived) {
	var to []string
	for _, r := range a.Recipients {
		to = append(to, r.Custodian)
	}
	read := "read back"
	if a.Opened {
		read = "read back, decrypted and compared"
	}
	fmt.Printf("archive %s: %d backups on %d discs, %d volumes, %s, to %s; %s\n",
		a.Set, len(a.Runs), a.Discs, a.Volumes, size(a.Bytes), safe(strings.Join(to, ", ")), read)
	fmt.Printf("write each folder %s to one disc, then run \"saoluu archive verify\" on the discs\n", safe(filepath.Join(a.Dir, "disc-*")))
}

// discSize reads a size with at most a decimal point.
func discSize(text string) (int64, error) {
	var bytes calendar.Bytes
	if text == "" {
		return 0, fault.New(fault.Usage, "archive", errors.New("no size of a disc"), "say --size 23GiB for a BD-25, --size 4.3GiB for a DVD")
	}
	number := strings.TrimRight(text, "kKMGTiB ")
	if !strings.Contains(number, ".") {
		err := bytes.UnmarshalText([]byte(text))
		return int64(bytes), err
	}
	parts, err := strconv.ParseFloat(number, 64)
	if err == nil {
		err = bytes.UnmarshalText([]byte("1" + strings.TrimPrefix(text, number)))
	}
	if err != nil || !(parts > 0 && parts < 1<<20) {
		return 0, fault.New(fault.Usage, "archive", fmt.Errorf("size %q cannot be read", text), "say --size 23GiB or --size 4.3GiB")
	}
	return int64(parts * float64(bytes)), nil
}

func archiveVerify() *cobra.Command {
	var o archive.VerifyOptions
	var identity string
	var asJSON bool
	c := &cobra.Command{Use: "verify DIR...", Short: "read a set of offline media and compare it with its checksums", Long: archiveVerifyHelp, Args: cobra.MinimumNArgs(1)}
	c.Flags().StringVar(&identity, "identity", "", "`FILE` with a custodian's private key: decrypt and compare the content too")
	c.Flags().BoolVar(&o.Partial, "partial", false, "only the discs named; the others are not missing")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, dirs []string) (err error) {
		if identity != "" {
			if o.Identities, _, err = config.Identity(identity); err != nil {
				return err
			}
		}
		m := newMeter(os.Stderr, clockNow())
		o.Dirs, o.Show = dirs, func(p archive.Progress) {
			m.show(jobs.Progress{Job: "archive", Step: p.Step, Done: p.Done, Total: p.Total})
		}
		v, err := archive.Verify(cmd.Context(), o)
		m.done("archive")
		if asJSON && v.Index.Set != "" {
			return errors.Join(err, printJSON(os.Stdout, newShownSet(v, err)))
		}
		if err == nil {
			printVerified(v)
		}
		return err
	}
	return c
}

// shownSet is the JSON of "archive verify".
type shownSet struct {
	Set      string            `json:"set"`
	Site     string            `json:"site"`
	SHA256   string            `json:"sha256"` // of the index
	Discs    int               `json:"discs"`
	Read     []int             `json:"read"`
	Volumes  int               `json:"volumes"`
	Bytes    int64             `json:"bytes"`
	Content  bool              `json:"content"` // decrypted and compared
	Good     bool              `json:"good"`    // everything that was read
	Runs     []archive.RunInfo `json:"runs"`
	Problems archive.Problems  `json:"problems,omitempty"`
}

func newShownSet(v archive.Verified, err error) shownSet {
	s := shownSet{
		Set: v.Index.Set, Site: v.Index.Site, SHA256: v.SHA256, Discs: v.Index.Discs, Read: v.Discs, Volumes: len(v.Index.Volumes),
		Bytes: v.Index.Bytes, Content: v.Content, Good: err == nil, Runs: v.Index.Runs,
	}
	_ = errors.As(err, &s.Problems) // other errors are printed only
	return s
}

func printVerified(v archive.Verified) {
	x := v.Index
	state := "whole"
	if v.Content {
		state = "whole, decrypted and compared"
	}
	if len(v.Discs) < x.Discs {
		fmt.Printf("archive %s of %s: discs %v of %d are whole; the others were not looked at\n", safe(x.Set), safe(x.Site), v.Discs, x.Discs)
		return
	}
	fmt.Printf("archive %s of %s: %d backups, %d discs, %d volumes, %s: %s\n", safe(x.Set), safe(x.Site), len(x.Runs), x.Discs, len(x.Volumes), size(x.Bytes), state)
}
