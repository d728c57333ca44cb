package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const recoverHelp = `recover brings a lost machine back from one target and one custodian's key, on an
empty machine with nothing but saoluu and restic: configuration, catalog, ledger
and the keys of the repositories. It checks that they are whole and compares the
ledger with the newest signed checkpoint on the target.

ADDRESS is as restic takes it: a path, s3:https://HOST/BUCKET/PREFIX,
sftp://USER@HOST:PORT/PATH or rest:https://HOST/PATH/. For s3 give the access key
by $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY or by files, for rest the account
by $RESTIC_REST_USERNAME and $RESTIC_REST_PASSWORD or by --user and a file, for
sftp the files of the SSH key and of the server's public key. A rest-server has no
room for the sealed key: type it from the recovery sheet into a file for --sealed.

FOLDER must not hold anything. Afterwards use it with --config FOLDER/saoluu.toml.`

// recoverFlags are the flags of recover.
type recoverFlags struct {
	from, identity, sealed, to, target                 string
	accessKey, secretKey, region, ca                   string
	sshKey, knownHosts, user, userPassword, resticPath string
}

func recoverCommand() *cobra.Command {
	var f recoverFlags
	c := &cobra.Command{Use: "recover", Short: "bring a lost machine back from one target and one key", Long: recoverHelp, Args: cobra.NoArgs}
	c.Flags().StringVar(&f.from, "from", "", "`ADDRESS` of the target")
	c.Flags().StringVar(&f.identity, "identity", "", "`FILE` with a custodian's private key, age or SSH")
	c.Flags().StringVar(&f.to, "to", "", "new `FOLDER` for configuration and state")
	c.Flags().StringVar(&f.target, "target", "", "`NAME` of the target, when it must be a certain one")
	c.Flags().StringVar(&f.sealed, "sealed", "", "`FILE` with the sealed key, when it does not lie on the target")
	c.Flags().StringVar(&f.accessKey, "access-key", "", "s3: `FILE` with the access key's id")
	c.Flags().StringVar(&f.secretKey, "secret-key", "", "s3: `FILE` with the secret half")
	c.Flags().StringVar(&f.region, "region", "", "s3: the `REGION`")
	c.Flags().StringVar(&f.ca, "ca", "", "s3, rest: `FILE` with the authority's certificate")
	c.Flags().StringVar(&f.sshKey, "ssh-key", "", "sftp: `FILE` with the SSH private key")
	c.Flags().StringVar(&f.knownHosts, "known-hosts", "", "sftp: `FILE` with the server's public key")
	c.Flags().StringVar(&f.user, "user", "", "rest: `NAME` of the account")
	c.Flags().StringVar(&f.userPassword, "user-password", "", "rest: `FILE` with its password")
	c.Flags().StringVar(&f.resticPath, "restic", "", "`FILE` of the restic to use")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		for name, value := range map[string]string{"from": f.from, "identity": f.identity, "to": f.to} {
			if value == "" {
				return fault.New(fault.Usage, cmd.CommandPath(), fmt.Errorf("--%s is missing", name), "run \""+cmd.CommandPath()+" --help\"")
			}
		}
		return f.run(cmd.Context())
	}
	return c
}

// recoverStall is how long restic may show no progress: as by default.
const recoverStall = 30 * time.Minute

func (f recoverFlags) run(ctx context.Context) (err error) {
	to, err := filepath.Abs(f.to)
	if err != nil {
		return err
	}
	shared := &jobs.Shared{}
	place, err := f.place(shared)
	if err != nil {
		return err
	}
	undo, err := jobs.NewFolder(to)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, undo())
		}
	}()
	bare := &config.Config{
		Paths:  config.Paths{State: filepath.Join(to, "state"), Scratch: filepath.Join(to, "state", "scratch")},
		Engine: config.Engine{Restic: f.resticPath, StallTimeout: calendar.Duration(recoverStall)},
	}
	if err := jobs.StateFolders(bare); err != nil {
		return err
	}
	engine, err := findEngine(ctx, bare)
	if err != nil {
		return err
	}
	r := &jobs.Runner{Config: bare, Engine: engine, Shared: shared, Version: version, Now: clockNow(), Log: consoleLog()}
	back, err := r.Fetch(ctx, jobs.Recovery{From: place, Identity: f.identity, Sealed: f.sealed, To: to, Target: f.target})
	if err != nil {
		return err
	}
	return rejoin(ctx, back)
}

// rejoin opens what came back as any other site and brings it up to date.
func rejoin(ctx context.Context, back jobs.Returned) (err error) {
	a := &app{configPath: back.Config}
	c, err := a.load()
	if err != nil {
		return err
	}
	s, err := a.wire(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	runs, away, err := s.Rejoin(ctx, back)
	if err != nil {
		return err
	}
	printReturned(back, runs, away)
	for _, what := range slices.Sorted(maps.Keys(s.Unresolved())) {
		fmt.Printf("  to be put back by hand: the secret of %s (%s)\n", what, strings.Join(errorLines(s.Unresolved()[what]), "; "))
	}
	if back.Ledger {
		if err := printKey(c); err != nil {
			return err
		}
		fmt.Println("compare the fingerprint with the one that was written down")
	} else {
		fmt.Println("the ledger's key is not sealed to this identity: checkpoints and evidence cannot be signed until it is put into state/keys/ledger.key")
	}
	fmt.Printf("next: saoluu --config %s status; then doctor, restore, backup --all, upkeep\n", safe(back.Config))
	return nil
}

func printReturned(back jobs.Returned, runs int, away map[string]error) {
	fmt.Printf("brought back configuration, catalog and ledger of %d entries from target %q\n", back.Entries, back.Target)
	if back.Older > 0 {
		fmt.Printf("  %d newer copies of them were damaged\n", back.Older)
	}
	switch {
	case back.Checkpoint == 0:
		fmt.Println("  no signed checkpoint lies on the target to compare the ledger with")
	case back.Behind > 0:
		fmt.Printf("  the newest signed checkpoint counts %d entries more: what they said is lost\n", back.Behind)
	default:
		fmt.Printf("  it agrees with the newest signed checkpoint, of %d entries\n", back.Checkpoint)
	}
	if runs > 0 {
		fmt.Printf("  %d runs that were made later were found in the repositories\n", runs)
	}
	fmt.Printf("  keys opened: %s\n", orDash(strings.Join(back.Opened, ", ")))
	if len(back.Closed) > 0 {
		fmt.Printf("  keys that another custodian has to open: %s\n", strings.Join(back.Closed, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(away)) {
		fmt.Printf("  target %q could not be looked at yet: %s\n", name, strings.Join(errorLines(away[name]), "; "))
	}
}

// place reads the address.
func (f recoverFlags) place(shared *jobs.Shared) (config.Target, error) {
	t, err := config.PlaceOf(f.from)
	if err != nil {
		return t, err
	}
	t.CA, t.Region, t.KnownHosts = f.ca, f.region, f.knownHosts
	if t.User == "" {
		t.User = f.user
	}
	give := func(to *config.Secret, flag, file, variable string) error {
		switch {
		case file != "":
			path, err := filepath.Abs(file)
			*to = config.Secret("file:" + path)
			return err
		case variable != "" && os.Getenv(variable) != "":
			*to, err = shared.Given(variable, os.Getenv(variable))
			return err
		}
		return fault.New(fault.Usage, "recover from "+t.Place(), fmt.Errorf("--%s is missing", flag), "run \"saoluu recover --help\"")
	}
	switch t.Type {
	case "s3":
		return t, errors.Join(give(&t.AccessKey, "access-key", f.accessKey, "AWS_ACCESS_KEY_ID"), give(&t.SecretKey, "secret-key", f.secretKey, "AWS_SECRET_ACCESS_KEY"))
	case "sftp":
		if f.knownHosts == "" {
			return t, fault.New(fault.Usage, "recover from "+t.Place(), errors.New("--known-hosts is missing"), "give a file with the server's public key, as ssh-keyscan prints it")
		}
		return t, give(&t.Key, "ssh-key", f.sshKey, "")
	case "rest":
		if t.User == "" {
			t.User = os.Getenv("RESTIC_REST_USERNAME")
		}
		if t.User == "" {
			return t, nil
		}
		return t, give(&t.UserPassword, "user-password", f.userPassword, "RESTIC_REST_PASSWORD")
	}
	return t, nil
}
