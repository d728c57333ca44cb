package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// A mariaPhysical is a copy of a whole MariaDB server made by mariabackup, with a
// throwaway server on its files.
type mariaPhysical struct {
	*mariaDrill
}

// physical reports whether the copy is one of mariabackup.
func (x *examination) physical() bool {
	return x.request.Source == "mariadb" && len(x.request.Parts) == 1 && sources.IsMariabackup(x.request.Parts[0].Filename)
}

// startMariaPhysical unpacks a copy, makes it consistent and starts a server on it.
// Damage is a *finding: one of these steps fails, and it is not for want of something.
func startMariaPhysical(ctx context.Context, x *examination, part restoredPart) (_ subject, err error) {
	version := recordedVersion(x.request.Facts)
	if version == "" {
		return nil, fault.New(fault.Unknown, "restore test", errors.New("the facts of the run are gone, and with them the version of the server"), "restore the copy by hand, and look at it")
	}
	unpacker, err := sources.FindUnpacker(ctx, x.request.Bin, version)
	if err != nil {
		return nil, err
	}
	i, err := findInstance(ctx, x.request.Bin, version)
	if err != nil {
		return nil, err
	}
	if i.tenant, err = x.settle(i.bin); err != nil {
		return nil, err
	}
	x.result.Tools = append(x.result.Tools, Tool{Name: "mariadb", Version: i.version}, Tool{Name: "mariabackup", Version: unpacker.Version})
	d := &mariaPhysical{&mariaDrill{examination: x, instance: i}}
	if err := d.unpack(ctx, unpacker, part.file); err != nil {
		return nil, err
	}
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(err, i.stop())
	}
	return d, nil
}

// unpack makes a data folder of the stream, as the server's user: what the stream names
// its files must not reach beyond the sandbox.
func (d *mariaPhysical) unpack(ctx context.Context, u sources.Unpacker, file string) error {
	i := d.instance
	if err := errors.Join(i.folder(i.data()), i.folder(i.temporary())); err != nil {
		return err
	}
	stream, err := os.Open(file)
	if err != nil {
		return err
	}
	defer stream.Close()
	err = u.Unpack(ctx, stream, i.data(), i.command)
	if err == nil {
		err = os.Remove(file) // its space is wanted
	}
	if err == nil {
		err = u.Prepare(ctx, i.data(), i.command)
	}
	if fault.KindOf(err) == fault.Damaged {
		return &finding{"load", "mariabackup makes a data folder of the copy", "refused", err}
	}
	return err
}

// start starts the server on the copy. Its users are the source's; ours are made beside
// them.
func (d *mariaPhysical) start(ctx context.Context) error {
	i := d.instance
	limit, cancel := context.WithTimeoutCause(ctx, startLimit, fault.New(fault.TimedOut, "start a throwaway MariaDB server", nil, "see whether the machine is overloaded"))
	defer cancel()
	plugins, users := filepath.Join(i.dir, "plugins"), filepath.Join(i.dir, "users.sql")
	if err := errors.Join(i.folder(plugins), os.WriteFile(users, []byte(strings.Join(ourUsers(), ";\n")+";\n"), 0o644)); err != nil {
		return err
	}
	settings, err := sources.MariabackupSettings(i.data())
	if err != nil {
		return &finding{"load", "the copy tells the settings of its files", "it does not", err}
	}
	// The copy's tables name plugins and functions of the source: none is loaded.
	options := append(settings, "--plugin-dir="+plugins, "--init-file="+users)
	if err := i.run(ctx, append(options, namesOfFiles(d.request.Facts)...)...); err != nil {
		return err
	}
	err = i.ready(limit, drillUser, d.list)
	var me *mysql.MySQLError
	var exit *command.ExitError
	var found *finding
	switch {
	case err == nil, errors.As(err, &found):
		return err
	case errors.As(err, &me) && me.Number == 1045:
		return fault.New(fault.Unknown, "start a throwaway MariaDB server on the copy", fmt.Errorf("our users could not be made beside its own: %w", err), "")
	case errors.As(err, &exit) && exit.Signal == 0 && fault.HintOf(err) == "":
		return &finding{"start", "the server recovers from the copy", "it does not", fmt.Errorf("%w: %s", err, exit.Stderr)}
	}
	return err
}

// list notes the databases that the copy holds.
func (d *mariaPhysical) list(ctx context.Context, conn *mariaSession) error {
	names, err := sources.MariaDBDatabases(ctx, conn.Conn)
	if err != nil {
		return d.serverError(ctx, "list the databases of", err)
	}
	for _, name := range names {
		d.databases = append(d.databases, loadedDatabase{sources.PartOfDatabase(name), name})
	}
	return nil
}

// facts takes what is now true of the whole server, and has it check each table.
func (d *mariaPhysical) facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error) {
	conn, err := d.instance.connect(ctx, drillUser, "")
	if err != nil {
		return nil, d.serverError(ctx, "connect to", err)
	}
	got, err := sources.MariaDBServerFacts(ctx, conn.Conn, sources.PlanFor(want, d.request.Parts[0].Part))
	if err == nil {
		err = d.sound(ctx, conn.Conn, got)
	}
	return got, d.readError(ctx, errors.Join(err, conn.close()))
}

// damage works on the tables of all databases alike: their facts name them in full.
func (d *mariaPhysical) damage(ctx context.Context, seed string, want []sources.Fact) (string, error) {
	whole := []loadedDatabase{{part: d.request.Parts[0].Part, name: "mysql"}}
	return damageFirst(whole, want, func() ([]sources.Fact, error) { return d.facts(ctx, nil) },
		func(db loadedDatabase, want []sources.Fact, all bool) (string, error) {
			return d.damageOne(ctx, db, seed, want, all)
		})
}
