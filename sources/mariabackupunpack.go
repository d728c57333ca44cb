package sources

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// An Unpacker makes a data folder of the stream of mariabackup: unpacked first, and
// then prepared, which is to apply the log that was written while the files were read.
type Unpacker struct {
	Version string // of mariabackup, as MariaDBVersion gives it

	mariabackup, mbstream string
}

// FindUnpacker looks for mariabackup and mbstream, in bin and then along PATH. Where
// version is not empty they must be of it: another version may not understand the log.
// The error is fault.MissingTool, with the name of the package.
func FindUnpacker(ctx context.Context, bin, version string) (u Unpacker, err error) {
	u.mariabackup, u.Version, err = Mariabackup(ctx, bin)
	if err != nil && bin != "" && ctx.Err() == nil {
		u.mariabackup, u.Version, err = Mariabackup(ctx, "")
	}
	if err != nil {
		return Unpacker{}, err
	}
	if version != "" {
		if err := u.fits(version); err != nil {
			return Unpacker{}, err
		}
	}
	if u.mbstream, err = command.LookPath("mbstream", filepath.Dir(u.mariabackup)); err != nil {
		return Unpacker{}, fault.New(fault.MissingTool, "find mbstream", errors.New("not installed"), "install mariadb-backup")
	}
	return u, nil
}

func (u Unpacker) fits(version string) error {
	if u.Version == version {
		return nil
	}
	return fault.New(fault.MissingTool, "make a data folder of the copy", fmt.Errorf("it is of %s, and %q of %s", version, u.mariabackup, u.Version), "install the mariadb-backup of that version")
}

// Bin is the folder of the programs.
func (u Unpacker) Bin() string { return filepath.Dir(u.mariabackup) }

// Unpack writes the files of the stream below dir, which is empty. spell spells out a
// program: as whom it runs, and what it may see. The error is fault.Damaged when the
// stream is not whole. On error what was written stays.
func (u Unpacker) Unpack(ctx context.Context, stream io.Reader, dir string, spell func(path string, args ...string) command.Cmd) error {
	const op = "unpack the server's files"
	c := spell(u.mbstream, "--extract", "--directory="+dir)
	c.Stdin = stream
	if _, err := command.Run(ctx, c); err != nil {
		return unpackFault(op, err)
	}
	about, err := backupInfo(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Damaged, op, errors.New("the stream ends before its end"), "")
	}
	if err != nil {
		return err
	}
	if m := infoVersion.FindSubmatch(about); m != nil {
		return u.fits(MariaDBVersion(string(m[1])))
	}
	return fault.New(fault.Damaged, op, errors.New("the copy does not tell the server's version"), "")
}

// Prepare makes unpacked files a data folder that a server can start on. The error is
// fault.Damaged when that cannot be had from these files.
func (u Unpacker) Prepare(ctx context.Context, dir string, spell func(path string, args ...string) command.Cmd) error {
	const op = "prepare the server's files"
	settings, err := MariabackupSettings(dir)
	if err != nil {
		return err
	}
	whole := false
	c := spell(u.mariabackup, slices.Concat([]string{"--no-defaults", "--prepare", "--target-dir=" + dir, "--tmpdir=" + dir, "--use-memory=256M"}, settings)...)
	c.StderrLine = func(line []byte) { whole = bytes.HasSuffix(bytes.TrimSpace(line), completedOK) }
	if _, err := command.Run(ctx, c); err != nil {
		return unpackFault(op, err)
	}
	if !whole {
		return fault.New(fault.Damaged, op, errors.New(`mariabackup ended without "completed OK!"`), "")
	}
	return nil
}

// unpackTroubles are words by which the system, not the data, makes the programs fail.
var unpackTroubles = []struct {
	text *regexp.Regexp
	kind fault.Kind
	hint string
}{
	{regexp.MustCompile(`No space left on device|Disk quota exceeded|(?i:errno:|error) 28\b|Errcode: 28`), fault.NoSpace, "free some space"},
	{regexp.MustCompile(`[Oo]ut of memory|Cannot allocate memory`), fault.Unknown, "give the machine more memory"},
	{regexp.MustCompile(`Permission denied|(?i:errno:|os error) 13\b|Errcode: 13`), fault.Denied, "let the user that runs saoluu write there"},
	{regexp.MustCompile(`(?i)key management|encryption plugin|cannot be decrypted`), fault.Unknown, "a server that encrypts its tables needs its keys: restore it by hand"},
}

func unpackFault(op string, err error) error {
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	for _, t := range unpackTroubles {
		if t.text.MatchString(exit.Stderr) {
			return fault.New(t.kind, op, err, t.hint)
		}
	}
	if exit.Signal != 0 {
		return fault.New(fault.Unknown, op, err, "see in the kernel's log whether memory ran out")
	}
	return fault.New(fault.Damaged, op, err, "")
}

var infoVersion = regexp.MustCompile(`(?m)^server_version = (\S+)$`)

// backupInfo reads what mariabackup writes last, under the name it has had since 11.1
// or before.
func backupInfo(dir string) ([]byte, error) {
	text, err := settingsFile(filepath.Join(dir, "mariadb_backup_info"))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = settingsFile(filepath.Join(dir, "xtrabackup_info"))
	}
	return text, err
}

// settingsFile reads the beginning of a small file; a link or a pipe is none.
func settingsFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(fault.Damaged, "read the copy", fmt.Errorf("%q is no file", filepath.Base(path)), "")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 64<<10))
}

// dataSettings are those without which a server cannot read files that another one
// made. Anything else of the source's stays behind.
var dataSettings = regexp.MustCompile(`^(innodb_page_size|innodb_undo_tablespaces)=(\d{1,6})$|^(innodb_data_file_path)=([A-Za-z0-9_.-]+:\d+[KMG]?(?::autoextend(?::max:\d+[KMG]?)?)?(?:;[A-Za-z0-9_.-]+:\d+[KMG]?(?::autoextend(?::max:\d+[KMG]?)?)?)*)$`)

// MariabackupSettings returns the options by which a server, and mariabackup, reads the
// data folder dir as the source did. The error is fault.Damaged when the copy does not
// tell them.
func MariabackupSettings(dir string) ([]string, error) {
	text, err := settingsFile(filepath.Join(dir, "backup-my.cnf"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Damaged, "read the copy", errors.New("it does not tell the settings of its files"), "")
	}
	if err != nil {
		return nil, err
	}
	var options []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if m := dataSettings.FindStringSubmatch(lines.Text()); m != nil {
			options = append(options, "--"+m[1]+m[3]+"="+m[2]+m[4])
		}
	}
	return options, lines.Err()
}
