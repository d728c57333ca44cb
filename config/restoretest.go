package config

import "saoluu/internal/calendar"

// RestoreTest says how it is proved that a job's backups restore. The facts
// taken at the backup are always compared; checks come on top.
type RestoreTest struct {
	// When to test, in the forms of the job's schedule. The default follows
	// importance: high "quarterly on 5 at 03:00", normal "half-yearly on 5 at
	// 03:00", low "yearly on 01-05 at 03:00".
	// Example: schedule = "monthly on 5 at 03:00"
	Schedule calendar.Schedule `toml:"schedule,omitempty"`

	// The target to restore from, one of the job's. The default takes turns.
	// Example: target = "nas"
	Target string `toml:"target,omitempty"`

	// Whether to restore only a sample; a full test is still due once a year.
	// Example: sample = true
	Sample bool `toml:"sample,omitempty" default:"false"`

	// Assertions on the restored data.
	Checks []Check `toml:"checks,omitempty"`

	// Absolute path of the folder with the programs of the throwaway server,
	// for a postgres, mariadb, redis or mongodb source. The default finds the server's
	// major version, or for the last two the server that is installed.
	// Example: bin = "/usr/lib/postgresql/15/bin"
	Bin string `toml:"bin,omitempty"`
}

// Check is one assertion on restored data. Exactly one of sql, redis, exists, sha256,
// min_files, parse, run and boot is set. With sql and redis goes what the first value must be: min,
// max or both; or one of equals, newer_than and expected_empty.
type Check struct {
	// What the assertion is called in evidence. The default is its text.
	// Example: name = "documents are there"
	Name string `toml:"name,omitempty"`

	// A query with one value, for sqlite, postgres and mariadb sources.
	// Example: sql = "SELECT count(*) FROM van_ban"
	SQL string `toml:"sql,omitempty"`

	// A command that reads, and its arguments, for redis sources.
	// Example: redis = ["HGET", "van-ban:1", "trich-yeu"]
	Redis []string `toml:"redis,omitempty"`

	// The database that is asked, of a source with several. The default is the
	// first one; of a redis source it is a number, and the default 0.
	// Example: database = "qlvb"
	Database string `toml:"database,omitempty"`

	// The least value; with sql or redis.
	// Example: min = 1
	Min *float64 `toml:"min,omitempty"`

	// The greatest value; with sql or redis.
	// Example: max = 1000000
	Max *float64 `toml:"max,omitempty"`

	// The only value, compared as text; with sql or redis.
	// Example: equals = "utf8"
	Equals *string `toml:"equals,omitempty" scalar:"true"`

	// The value is a time, and at the backup it was at most so old; with sql or redis.
	// Example: newer_than = "48h"
	NewerThan *calendar.Duration `toml:"newer_than,omitempty"`

	// The query returns no row, or a first value that is null, zero or empty;
	// with sql or redis.
	// Example: expected_empty = true
	ExpectedEmpty bool `toml:"expected_empty,omitempty"`

	// Absolute path that must be there, in the paths of a files source.
	// Example: exists = "/etc/fstab"
	Exists string `toml:"exists,omitempty"`

	// File that must have this content, for files sources.
	SHA256 *PathHash `toml:"sha256,omitempty"`

	// The least number of regular files, for files sources.
	// Example: min_files = 100
	MinFiles *int `toml:"min_files,omitempty" range:"1-1000000000"`

	// The service, or the form, whose own parser must find no error in the restored
	// configuration, for files and config sources: apache, named, nft, nginx,
	// postgres, sshd, sudoers, systemd, or ini, json, toml, yaml. The service's program runs on the restored
	// files, each where it was, and sees nothing of this machine but its programs; where
	// it is not installed, the restore test is unknown.
	// Example: parse = "nginx"
	Parse string `toml:"parse,omitempty" enum:"apache|ini|json|named|nft|nginx|postgres|sshd|sudoers|systemd|toml|yaml"`

	// Absolute path of what is parsed; with parse. The default is where the service
	// looks, and for ini, json, postgres, systemd, toml and yaml there is none.
	// Example: path = "/etc/nginx/nginx.conf"
	Path string `toml:"path,omitempty"`

	// A program and its arguments that looks at what was restored, for files, command,
	// mongodb, sqlserver and oracle sources: {} stands for its path, of a file or a
	// folder. Exit status 0 is good, 125 to 127 say that it could not look, any other is
	// damage. It sees the system's programs, what was restored, and nothing else, except
	// what read, write and network give it. A sqlserver or oracle source needs one such
	// check to pass its restore test: nothing but the engine itself can tell.
	// Example: run = ["/usr/sbin/slapadd", "-u", "-l", "{}"]
	Run []string `toml:"run,omitempty"`

	// Absolute paths of folders and files that the program may read too; with run.
	// Example: read = ["/opt/oracle", "/etc/saoluu/kiem-thu"]
	Read []string `toml:"read,omitempty"`

	// Absolute paths of folders that the program may write to, such as one that a
	// server for tests sees too; with run.
	// Example: write = ["/srv/kiem-thu"]
	Write []string `toml:"write,omitempty"`

	// Whether the program may reach the network, such as a server for tests; with run.
	// Example: network = true
	Network bool `toml:"network,omitempty" default:"false"`

	// What the machine that an image is of must write on its serial line when it is
	// booted from the restored disk, or on its screen while that shows text: a regular
	// expression (RE2), or default, which is a login prompt or systemd's multi-user
	// target. The machine runs in QEMU without a network card; what it says is best heard
	// on its first serial port, as by console=ttyS0.
	// Example: boot = "default"
	Boot string `toml:"boot,omitempty"`

	// The firmware of the machine. The default is uefi for a disk with a system
	// partition and nothing that a BIOS would boot, else bios; with boot.
	// Example: boot_firmware = "uefi"
	BootFirmware string `toml:"boot_firmware,omitempty" enum:"bios|uefi"`

	// What the disk of the machine hangs on, virtio by default; with boot.
	// Example: boot_bus = "sata"
	BootBus string `toml:"boot_bus,omitempty" enum:"virtio|sata"`

	// The memory of the machine, 1GiB by default; with boot.
	// Example: boot_memory = "2GiB"
	BootMemory calendar.Bytes `toml:"boot_memory,omitempty"`

	// How long the machine may take until it is up, 10m by default; with boot. Without
	// virtualization by the processor it takes many times as long as otherwise.
	// Example: boot_limit = "20m"
	BootLimit calendar.Duration `toml:"boot_limit,omitempty"`

	// Absolute path of a PNG file: the machine is up as well when its screen looks like
	// that, twice in a row. What is transparent in the picture is not compared, such as a
	// clock. boot.png of the evidence of a test is such a file; with boot.
	// Example: boot_picture = "/etc/saoluu/man-hinh/qlvb.png"
	BootPicture string `toml:"boot_picture,omitempty"`

	// A program of the machine and its arguments, run in it once it is up: by its guest
	// agent where one answers, else on its serial line. It must end with status 0; with
	// boot.
	// Example: boot_run = ["systemctl", "is-active", "nginx"]
	BootRun []string `toml:"boot_run,omitempty"`

	// What the program must say: a regular expression (RE2); with boot_run.
	// Example: boot_expect = "^active$"
	BootExpect string `toml:"boot_expect,omitempty"`

	// Who is logged in on the serial line for the program, where no guest agent answers
	// and no shell is there already; with boot_run.
	// Example: boot_login = "root"
	BootLogin string `toml:"boot_login,omitempty"`

	// The password of boot_login, where one is asked for.
	// Example: boot_password = "credential:qlvb-root"
	BootPassword Secret `toml:"boot_password,omitempty"`
}

// PathHash names a file and its SHA-256.
type PathHash struct {
	// The file's absolute path, in the paths of the source.
	// Example: path = "/etc/machine-id"
	Path string `toml:"path" need:"true"`

	// The SHA-256 of its content, 64 hexadecimal digits.
	// Example: hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	Hex string `toml:"hex" need:"true"`
}
