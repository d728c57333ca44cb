package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/compliance"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const mediumHelp = `medium keeps the register of removable media: which disk is whose, who has it, where
it lies, when it is due, what is on it, and how it ends. Only media of the register
are written to.

A medium is a disk with a file system of its own and a target of its own in the
configuration (type = "removable"). When it is plugged in, the daemon fills it with
what it lacks, reads it back, unmounts it and says that it is safe to remove;
"saoluu upkeep TARGET" does the same by hand.`

const mediumAddHelp = `add enters a disk into the register and prepares it: it writes a signed header to
its file system, which must be empty, and makes the target's repository there. Make
the file system first, for example with mkfs.ext4: its UUID and the header are what
the medium is known by from then on.

Label and secrecy are those of its target in the configuration.`

func mediumCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "medium", Short: "register, hand over, inspect and withdraw removable media", Long: mediumHelp}
	c.AddCommand(mediumList(a), mediumShow(a), mediumAdd(a), mediumHand(a), mediumInspect(a), mediumEject(a), mediumLabel(a), mediumSanitise(a), mediumStage(a))
	return c
}

func mediumList(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "list", Short: "the register: where each medium is and when it is due", Args: cobra.NoArgs}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per medium")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		c, cat, err := a.read(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cat.Close()) }()
		all, err := compliance.Media(cmd.Context(), cat, clockNow()())
		if err != nil {
			return err
		}
		t := &table{}
		t.row("MEDIUM", "TARGET", "STAGE", "WHERE", "LAST FILLED", "DUE", "STATE", "WHY")
		for _, m := range all {
			if asJSON {
				if err := printJSON(os.Stdout, m); err != nil {
					return err
				}
				continue
			}
			due := orDash("")
			switch {
			case !m.DueOut.IsZero():
				due = "out " + when(m.DueOut, c.Site.Location)
			case !m.DueBack.IsZero():
				due = "back " + when(m.DueBack, c.Site.Location)
			}
			t.row(m.Medium, m.Target, m.Stage, whereIs(m), when(m.Served, c.Site.Location), due, string(m.State), m.Why)
			t.colour(6, stateColour(string(m.State)))
		}
		if !asJSON {
			t.print(os.Stdout)
		}
		return nil
	}
	return c
}

// whereIs says in a few words where a medium is.
func whereIs(m compliance.MediumStatus) string {
	switch {
	case m.Plugged:
		return "plugged in"
	case m.Holder != "":
		return m.Holder + ", " + m.Place
	}
	return orDash("")
}

func mediumAdd(a *app) *cobra.Command {
	var device string
	var about catalog.MediumRegistered
	c := &cobra.Command{Use: "add MEDIUM --device DEVICE", Short: "enter a disk into the register and prepare it", Long: mediumAddHelp, Args: cobra.ExactArgs(1)}
	f := c.Flags()
	f.StringVar(&device, "device", "", "`DEVICE` of its file system, such as /dev/sdb1")
	f.StringVar(&about.Type, "type", catalog.MediumUSB, "what it is: `TYPE` hdd, ssd, usb, usb_coyeu or other")
	f.StringVar(&about.Serial, "serial", "", "serial `NUMBER` printed on it, when the disk does not say it itself")
	f.StringVar(&about.Model, "model", "", "its make and `MODEL`, when the disk does not say it itself")
	f.StringVar(&about.Owner, "owner", "agency", "the `UNIT` of the agency it belongs to, or \"private\", which is refused")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		about.Medium, about.By = args[0], userName()
		switch {
		case device == "":
			return fault.New(fault.Usage, cmd.CommandPath(), errors.New("--device is missing"), "name the device of its file system: lsblk shows them")
		case !strings.Contains(" hdd ssd usb usb_coyeu other ", " "+about.Type+" "):
			return fault.New(fault.Usage, cmd.CommandPath(), fmt.Errorf("unknown type %q", about.Type), "choose one of: hdd, ssd, usb, usb_coyeu, other")
		}
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		made, err := s.AddMedium(cmd.Context(), device, about)
		if err != nil {
			return err
		}
		fmt.Printf("%s: in the register\n", about.Medium)
		printEnrolled(made)
		secured, err := s.SecureKeys(cmd.Context())
		for _, k := range secured {
			printSecured(k)
		}
		if err == nil {
			fmt.Printf("next: \"saoluu upkeep %s\" fills it; \"saoluu medium label %s\" prints its label\n", made.Target, about.Medium)
		}
		return err
	}
	return c
}

func mediumHand(a *app) *cobra.Command {
	var e catalog.MediumHanded
	c := &cobra.Command{Use: "hand MEDIUM --to PERSON --place PLACE", Short: "write into the custody log who takes a medium where", Args: cobra.ExactArgs(1)}
	f := c.Flags()
	f.StringVar(&e.To, "to", "", "`PERSON` who takes it")
	f.StringVar(&e.Place, "place", "", "`PLACE` where it will lie")
	f.StringVar(&e.Seal, "seal", "", "`NUMBER` of the seal it lies under")
	f.StringVar(&e.DueBack, "due-back", "", "`DAY` by which it comes back, such as 2026-05-31")
	f.StringVar(&e.Note, "note", "", "`NOTE` for the log")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		e.Medium, e.By = args[0], userName()
		return a.onMedium(cmd.Context(), func(ctx context.Context, s *site) error {
			if err := s.HandMedium(ctx, e); err != nil {
				return err
			}
			fmt.Printf("%s: %s has it, at %s\n", e.Medium, safe(e.To), safe(e.Place))
			return nil
		})
	}
	return c
}

func mediumInspect(a *app) *cobra.Command {
	var e catalog.MediumInspected
	var broken bool
	c := &cobra.Command{Use: "inspect MEDIUM", Short: "record that somebody looked at a medium where it is kept", Args: cobra.ExactArgs(1)}
	f := c.Flags()
	f.StringVar(&e.Place, "place", "", "`PLACE` where it was found, when not where the log says")
	f.StringVar(&e.Seal, "seal", "", "`NUMBER` of the seal that was found")
	f.BoolVar(&broken, "broken", false, "the medium or its seal is not whole")
	f.StringVar(&e.Note, "note", "", "`NOTE` for the log")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		e.Medium, e.By, e.Intact = args[0], userName(), !broken
		return a.onMedium(cmd.Context(), func(ctx context.Context, s *site) error {
			if err := s.InspectMedium(ctx, e); err != nil {
				return err
			}
			fmt.Printf("%s: inspected\n", e.Medium)
			return nil
		})
	}
	return c
}

func mediumEject(a *app) *cobra.Command {
	return &cobra.Command{Use: "eject MEDIUM", Short: "write a medium out and unmount it", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return a.onMedium(cmd.Context(), func(ctx context.Context, s *site) error {
			done, err := s.EjectMedium(ctx, args[0])
			if err == nil && len(done.Still) > 0 {
				err = fault.New(fault.Incomplete, fmt.Sprintf("medium %q", args[0]), fmt.Errorf("it is written out, and still mounted at %s", strings.Join(done.Still, ", ")), "unmount it there")
			}
			if err == nil {
				fmt.Printf("%s: safe to remove\n", args[0])
			}
			return err
		})
	}}
}

const mediumSanitiseHelp = `sanitise records that what was on a medium was made irrecoverable. saoluu erases
nothing itself; it refuses what it can see is not so: a file system that is still
there, a crypto-erase without a destroyed key, a secret medium that was not
destroyed by a numbered decision (29/2020/QĐ-UBND, Điều 6.4 and 13.4).`

func mediumSanitise(a *app) *cobra.Command {
	var s catalog.Sanitisation
	var note string
	c := &cobra.Command{Use: "sanitise MEDIUM", Short: "record that a medium's contents were made irrecoverable", Long: mediumSanitiseHelp, Args: cobra.ExactArgs(1)}
	f := c.Flags()
	f.StringVar(&s.Method, "method", "", "`METHOD` clear, purge or destroy")
	f.StringVar(&s.Technique, "technique", "", "`TECHNIQUE`, such as overwrite, crypto-erase, shredder")
	f.StringVar(&s.Tool, "tool", "", "`TOOL` and its version")
	f.StringVar(&s.Verification, "verification", "", "`HOW` it was looked whether it worked, and what was found")
	f.StringVar(&s.Witness, "witness", "", "`PERSON` who witnessed it")
	f.StringVar(&s.Place, "place", "", "`PLACE` where it was done")
	f.StringVar(&s.Decision, "decision", "", "`NUMBER` of the decision; needed for secrets")
	f.StringVar(&note, "note", "", "`NOTE` for the log")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		for name, value := range map[string]string{"method": s.Method, "technique": s.Technique, "verification": s.Verification, "witness": s.Witness, "place": s.Place} {
			if strings.TrimSpace(value) == "" {
				return fault.New(fault.Usage, cmd.CommandPath(), fmt.Errorf("--%s is missing", name), "a sanitisation record has method, technique, verification, witness and place")
			}
		}
		if !strings.Contains(" clear purge destroy ", " "+s.Method+" ") {
			return fault.New(fault.Usage, cmd.CommandPath(), fmt.Errorf("unknown method %q", s.Method), "choose one of: clear, purge, destroy")
		}
		return a.stage(cmd.Context(), catalog.MediumStaged{Medium: args[0], Stage: catalog.StageSanitised, By: userName(), Note: note, Sanitisation: &s})
	}
	return c
}

func mediumStage(a *app) *cobra.Command {
	var note string
	c := &cobra.Command{
		Use: "stage MEDIUM in-use|to-sanitise|reused|transferred|disposed|lost", Short: "bring a medium to another stage of its life", Args: cobra.ExactArgs(2),
		ValidArgs: []string{catalog.StageInUse, catalog.StageToSanitise, catalog.StageReused, catalog.StageTransferred, catalog.StageDisposed, catalog.StageLost},
	}
	c.Flags().StringVar(&note, "note", "", "`NOTE` for the log: why, or to whom")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if args[1] == catalog.StageSanitised {
			return fault.New(fault.Usage, cmd.CommandPath(), errors.New("sanitising needs a record"), "use \"saoluu medium sanitise\"")
		}
		return a.stage(cmd.Context(), catalog.MediumStaged{Medium: args[0], Stage: args[1], By: userName(), Note: note})
	}
	return c
}

func (a *app) stage(ctx context.Context, e catalog.MediumStaged) error {
	return a.onMedium(ctx, func(ctx context.Context, s *site) error {
		if err := s.StageMedium(ctx, e); err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", e.Medium, e.Stage)
		return nil
	})
}

// onMedium opens the site for one piece of work.
func (a *app) onMedium(ctx context.Context, do func(context.Context, *site) error) (err error) {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return do(ctx, s)
}

// ejected tells what became of media that were in use.
func ejected(all []jobs.Ejected) {
	for _, e := range all {
		if len(e.Still) > 0 {
			fmt.Fprintf(os.Stderr, "saoluu: medium %s is written out, and still mounted at %s\n", e.Medium, safe(strings.Join(e.Still, ", ")))
			continue
		}
		fmt.Fprintf(os.Stderr, "saoluu: medium %s is unmounted: safe to remove\n", e.Medium)
	}
}
