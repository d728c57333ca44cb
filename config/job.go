package config

import "saoluu/internal/calendar"

// Job is one thing to protect, and a row of the inventory.
type Job struct {
	// Name is the key under [jobs].
	Name string `toml:"-"`

	// What it is, for people. The default is the job's name.
	// Example: title = "CSDL quản lý văn bản"
	Title string `toml:"title,omitempty"`

	// The information system it belongs to.
	// Example: system = "Quản lý văn bản và điều hành"
	System string `toml:"system,omitempty"`

	// What kind of data it is.
	// Example: category = "database"
	Category string `toml:"category" need:"true" enum:"config|os-image|database|business-data|logs|software"`

	// How much it matters: high (rất quan trọng), normal (quan trọng) or low
	// (thường). The clauses' "important data" are high and normal.
	// Example: importance = "high"
	Importance string `toml:"importance" need:"true" enum:"high|normal|low"`

	// The state secrecy level of the data. It must be said, so that nobody
	// forgets to think of it.
	// Example: secrecy = "none"
	Secrecy string `toml:"secrecy" need:"true" enum:"none|mat|toi_mat|tuyet_mat"`

	// The decision by which it was settled whether a configuration is a state secret.
	// With the pack QBTP a config source is not read before there is one.
	Classification *Classification `toml:"classification,omitempty"`

	// The agency's own handling label.
	// Example: label = "noi-bo"
	Label string `toml:"label,omitempty"`

	// The unit or person who answers for the data.
	// Example: owner = "Văn phòng Sở"
	Owner string `toml:"owner,omitempty"`

	// The day the data came into service; duties begin no earlier.
	// Example: in_service = "2024-09-25"
	InService string `toml:"in_service,omitempty"`

	// The retention class, by name.
	// Example: class = "nghiep-vu"
	Class string `toml:"class" need:"true"`

	// When to back up, by the clock of the site: "hourly at :15", "every 15m",
	// "daily at 01:00", "weekly on mon,thu at 02:00", "monthly on 31 at 02:00"
	// (the last day of shorter months), "quarterly on 1 at 03:00",
	// "half-yearly on 1 at 03:00", "yearly on 12-31 at 03:00", or five cron
	// fields.
	// Example: schedule = "daily at 01:00"
	Schedule calendar.Schedule `toml:"schedule" need:"true"`

	// The targets by name, the preferred one first. The source is read once,
	// into the first that is ready; the others get copies from there.
	// Example: targets = ["nas", "usb"]
	Targets []string `toml:"targets" need:"true"`

	// Recovery point objective: how much work may be lost, as an age.
	// Example: rpo = "24h"
	RPO calendar.Duration `toml:"rpo,omitempty"`

	// Recovery time objective: how long a restore may take.
	// Example: rto = "4h"
	RTO calendar.Duration `toml:"rto,omitempty"`

	// How often a failed run is tried again before its slot counts as failed.
	// Example: retries = 2
	Retries int `toml:"retries" default:"2" range:"0-10"`

	// How the data are read.
	Source Source `toml:"source" need:"true"`

	// How it is proved that the backups restore. Optional.
	Test RestoreTest `toml:"restore_test,omitempty"`
}

// Source says how the data are read. Its keys depend on type: files is folders
// and files, config what this machine and network devices are set to, command what a program of the agency's own writes or leaves, sqlite one SQLite database, postgres and mariadb one, several or all
// databases of a server with its roles, or users and grants, redis all databases of
// a Redis server, image a disk or a file that stands for one. A mariadb source reads MySQL servers too. mongodb, sqlserver and
// oracle drive the programs of these engines' makers, and were never tried against a
// real server.
type Source struct {
	// How the data are read.
	// Example: type = "postgres"
	Type string `toml:"type" need:"true" enum:"files|config|sqlite|postgres|mariadb|redis|mongodb|sqlserver|oracle|command|image"`

	// The program and its arguments. It is run as it is written, without a shell,
	// and what it writes to its standard output is the backup. An exit status other
	// than 0 fails the run.
	// Example: argv = ["/usr/local/bin/ldap-dump", "--all"]
	Argv []string `toml:"argv,omitempty" need:"true" of:"command"`

	// What the program's output is called in the backup.
	// Example: filename = "ldap.ldif"
	Filename string `toml:"filename,omitempty" of:"command" default:"output"`

	// Absolute path of the folder in which the program leaves files: they are the
	// backup then, and not its output. With sqlserver and oracle the server itself
	// writes there, so that both must see the folder.
	// Example: folder = "/var/backups/ung-dung"
	Folder string `toml:"folder,omitempty" need:"sqlserver|oracle" of:"command|sqlserver|oracle"`

	// What the server calls folder. The default is the same path.
	// Example: server_folder = "\\\\nas\\saoluu"
	ServerFolder string `toml:"server_folder,omitempty" of:"sqlserver"`

	// The directory object by which the server knows folder; not with the method rman.
	// Example: directory = "SAOLUU"
	Directory string `toml:"directory,omitempty" of:"oracle"`

	// Environment variable in which the program finds the path of a file with the
	// password.
	// Example: password_env = "LDAP_PASSWORD_FILE"
	PasswordEnv string `toml:"password_env,omitempty" of:"command"`

	// Absolute paths of folders and files. A config source has at least one of paths,
	// presets, commands and devices.
	// Example: paths = ["/etc", "/srv/ho-so"]
	Paths []string `toml:"paths,omitempty" need:"files" of:"files|config"`

	// Families of commands that only read and tell the state of this machine: packages,
	// unit files, kernel settings, addresses, firewall rules, the crontab. Those that are
	// not installed are passed over.
	// Example: presets = ["debian"]
	Presets []string `toml:"presets,omitempty" of:"config"`

	// Further commands whose output is saved.
	Commands []ConfigCommand `toml:"commands,omitempty" of:"config"`

	// Network devices whose configuration is saved.
	Devices []Device `toml:"devices,omitempty" of:"config"`

	// Patterns of what to leave out, as restic's --exclude takes them.
	// Example: exclude = ["*.tmp", "/srv/ho-so/cache"]
	// Those of an image with the method system-tree are of paths as that system has them.
	Exclude []string `toml:"exclude,omitempty" of:"files|config|image"`

	// Whether to stay on the file systems of paths.
	// Example: one_file_system = true
	OneFileSystem bool `toml:"one_file_system,omitempty" of:"files|config" default:"false"`

	// How many facts are taken for the comparison after a restore. Files:
	// "sampled" (the default) or "full" hashes, as with the method system-tree; config always "full". Databases: "full" (the default)
	// or only "counts" of rows; redis: "sampled" (the default), "full" or "counts".
	// Example: facts = "full"
	Facts string `toml:"facts,omitempty" enum:"sampled|full|counts"`

	// How long the facts of databases may take; of a mariadb source, those of each
	// database. Rows are counted first, then contents are read, those of small tables
	// before those of large ones. What is left when time is up is not compared after a
	// restore, and the restore test says of how many tables that is so.
	// Example: facts_limit = "4h"
	FactsLimit calendar.Duration `toml:"facts_limit,omitempty" of:"postgres|mariadb|sqlite" default:"1h"`

	// A table, with its schema or, with mariadb, its database, in which a fresh value
	// is planted before every dump: that the restored copy has it shows that the dump
	// is of the server that is written to, and of that night. The user needs INSERT
	// and UPDATE on it. The table is made beforehand: see
	// docs/how-to/database-facts.md.
	// Example: canary = "public.saoluu_canary"
	Canary string `toml:"canary,omitempty" of:"postgres|mariadb"`

	// Absolute path of the database file; of an image, the disk, the partition, the
	// volume, or the raw or qcow2 file; with the method system-tree, where the root of the
	// system is mounted, and / when nothing is said.
	// Example: path = "/srv/app/app.db"
	Path string `toml:"path,omitempty" need:"sqlite" of:"sqlite|image"`

	// The running virtual machine whose disk is saved, instead of path.
	Guest *Guest `toml:"guest,omitempty" of:"image"`

	// How an image is held still. offline, the default, refuses what is in use or open
	// for writing. snapshot takes a snapshot of an LVM volume, with the method system-tree
	// of btrfs too, reads that and drops it; with guest it is the default, and there is no
	// other. crash takes a disk in use as after a power cut, with its free space, or files
	// as they change, and says so in every report.
	// Example: consistency = "snapshot"
	Consistency string `toml:"consistency,omitempty" of:"image" enum:"offline|snapshot|crash"`

	// Files on the disk, by their paths there, whose digest is kept when the image is
	// taken and compared after a restore, beside os-release, host name, kernels and
	// fstab.
	// Example: facts_files = ["/etc/nginx/nginx.conf"]
	FactsFiles []string `toml:"facts_files,omitempty" of:"image"`

	// The server's host name or address; or, for postgres, the folder of its socket
	// and, for mariadb and redis, the socket itself. The default for mariadb is
	// /run/mysqld/mysqld.sock, for the others 127.0.0.1. A mongodb host in a replica set
	// has the set's name and a slash before it.
	// Example: host = "/var/run/postgresql"
	Host string `toml:"host,omitempty" of:"postgres|mariadb|redis|mongodb|sqlserver|oracle" default:"/var/run/postgresql"`

	// The server's port; with postgres it is part of the socket's name too. The
	// default for mariadb is 3306, for redis 6379, mongodb 27017, sqlserver 1433, oracle
	// 1521.
	// Example: port = 5432
	Port int `toml:"port,omitempty" of:"postgres|mariadb|redis|mongodb|sqlserver|oracle" default:"5432" range:"1-65535"`

	// The role that reads the database; it needs pg_read_all_data. The user of a
	// mariadb source needs SELECT, SHOW VIEW, TRIGGER, EVENT and RELOAD on *.*. The
	// user of a redis source, "default" where there are no users, needs psync, replconf,
	// info, select and @read; that of a mongodb source the role backup, of sqlserver
	// db_backupoperator and CREATE ANY DATABASE, of oracle DATAPUMP_EXP_FULL_DATABASE.
	// Example: user = "saoluu"
	User string `toml:"user,omitempty" need:"postgres|mariadb|redis" of:"postgres|mariadb|redis|mongodb|sqlserver|oracle"`

	// The database in which the user is kept.
	// Example: auth_database = "qlvb"
	AuthDatabase string `toml:"auth_database,omitempty" of:"mongodb" default:"admin"`

	// Absolute path of a Kerberos ticket, instead of user and password.
	// Example: ticket_cache = "/run/saoluu/krb5cc"
	TicketCache string `toml:"ticket_cache,omitempty" of:"sqlserver"`

	// The role's or the program's password, as a reference. Not needed where the
	// server knows the user of a socket.
	// Example: password = "credential:qlvb-db"
	Password Secret `toml:"password,omitempty" of:"postgres|mariadb|redis|mongodb|sqlserver|oracle|command"`

	// How a server is read: dump, the default, is one logical dump of each database;
	// basebackup, for postgres, and mariabackup, for mariadb, are a physical copy of
	// the whole server, which brings everything back at once. basebackup needs a user
	// with REPLICATION; mariabackup needs PROCESS, LOCK TABLES and BINLOG MONITOR too,
	// and a server on this machine whose data folder can be read. An oracle source
	// knows datapump, its default, and rman, which runs on the server as one of the
	// database's administrators. An image is made of blocks, the default, or with
	// system-tree of all files of a system and what a disk needs besides to boot them.
	// Example: method = "basebackup"
	Method string `toml:"method,omitempty" of:"postgres|mariadb|oracle|image" enum:"dump|basebackup|mariabackup|datapump|rman|blocks|system-tree"`

	// The name of the database. Exactly one of database, databases and all is set,
	// and none is needed where the method is of the whole server. For oracle it is the
	// name of the service or, with the method rman, of the instance.
	// Example: database = "qlvb"
	Database string `toml:"database,omitempty" need:"oracle" of:"postgres|mariadb|mongodb|sqlserver|oracle"`

	// The names of several databases of the server: one run saves them all.
	// Example: databases = ["qlvb", "motcua"]
	Databases []string `toml:"databases,omitempty" of:"postgres|mariadb|mongodb|sqlserver"`

	// The schemas that an oracle source exports, instead of all.
	// Example: schemas = ["KETOAN", "NHANSU"]
	Schemas []string `toml:"schemas,omitempty" of:"oracle"`

	// Whether to save all databases of the server, also those that are made later; of
	// oracle, all schemas.
	// Example: all = true
	All bool `toml:"all,omitempty" of:"postgres|mariadb|mongodb|sqlserver|oracle" default:"false"`

	// Whether to save what is written meanwhile too, so that all databases are of the
	// instant at which the dump ended. Only for a replica set, with all.
	// Example: oplog = true
	Oplog bool `toml:"oplog,omitempty" of:"mongodb" default:"false"`

	// How the connection is protected; not on a socket. The default is
	// verify-full, and on the machine itself prefer for postgres, disable for
	// mariadb, redis and mongodb, which know disable, require and verify-full. sqlserver
	// knows require, which is its default on the machine itself, and verify-full.
	// Example: sslmode = "verify-full"
	SSLMode string `toml:"sslmode,omitempty" of:"postgres|mariadb|redis|mongodb|sqlserver" enum:"disable|allow|prefer|require|verify-ca|verify-full"`

	// Absolute path of the file with the authorities that the server's certificate
	// is checked against. The default are the system's.
	// Example: ca = "/etc/saoluu/db-ca.pem"
	CA string `toml:"ca,omitempty" of:"mariadb|redis|mongodb"`

	// Absolute path of the folder with pg_dump, pg_dumpall and pg_basebackup, or
	// mariadb-dump and mariabackup, or the programs of the engine's maker. The default
	// finds the server's own major version, or the one along PATH.
	// Example: bin = "/usr/lib/postgresql/15/bin"
	Bin string `toml:"bin,omitempty" of:"postgres|mariadb|mongodb|sqlserver|oracle"`
}
