package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"saoluu/internal/calendar"
)

// Target is a place that holds one restic repository.
type Target struct {
	// The kind of storage: local is a folder of a mounted file system, s3 a bucket
	// of an S3-compatible service, sftp a folder on an SSH server, rest a
	// repository on a rest-server, removable a disk of the register of media that
	// is plugged in now and then.
	// Example: type = "local"
	Type string `toml:"type" need:"true" enum:"local|removable|s3|sftp|rest"`

	// Absolute path of the repository's folder, with sftp on the server. No two
	// targets may share a folder or lie inside each other.
	// Example: path = "/mnt/nas/saoluu"
	Path string `toml:"path,omitempty" need:"true" of:"local|sftp"`

	// Name of the medium in the register: "saoluu medium add" enters it. A medium
	// has one target.
	// Example: medium = "usb-a"
	Medium string `toml:"medium,omitempty" need:"true" of:"removable"`

	// Where the system mounts the medium (fstab, automount). Without it saoluu
	// mounts and unmounts the medium itself, below its state, which only root may.
	// Example: mount = "/mnt/usb-a"
	Mount string `toml:"mount,omitempty" of:"removable"`

	// The agency's handling label that the medium bears. Another medium is refused.
	// Example: label = "noi-bo"
	Label string `toml:"label,omitempty" of:"removable"`

	// The state secrecy level the medium is meant for. Data of another level are
	// refused.
	// Example: secrecy = "none"
	Secrecy string `toml:"secrecy,omitempty" of:"removable" default:"none" enum:"none|mat|toi_mat|tuyet_mat"`

	// Set of media that take turns: one of them has to come back in time.
	// Example: rotation = "ngoai-tru-so"
	Rotation string `toml:"rotation,omitempty" of:"removable"`

	// How long after it was filled the medium, or the next of its rotation, has to
	// be plugged in again.
	// Example: due_back = "7d"
	DueBack calendar.Period `toml:"due_back,omitempty" of:"removable" default:"31d"`

	// How long the medium may stay plugged in after it was filled: what is plugged
	// in is in reach of whoever gets into the machine.
	// Example: due_out = "1d"
	DueOut calendar.Period `toml:"due_out,omitempty" of:"removable" default:"2d"`

	// Address of the S3 service; https, or http on this machine only.
	// Example: endpoint = "https://s3.example.vn"
	Endpoint string `toml:"endpoint,omitempty" need:"true" of:"s3"`

	// The bucket. "saoluu init" makes it when it is not there.
	// Example: bucket = "stp-saoluu"
	Bucket string `toml:"bucket,omitempty" need:"true" of:"s3"`

	// Folder in the bucket, when the bucket holds other things besides.
	// Example: prefix = "stp/main"
	Prefix string `toml:"prefix,omitempty" of:"s3"`

	// The service's region, when it has more than one.
	// Example: region = "vn-north-1"
	Region string `toml:"region,omitempty" of:"s3"`

	// Reference to the access key's id.
	// Example: access_key = "credential:ttdl-access"
	AccessKey Secret `toml:"access_key,omitempty" need:"true" of:"s3"`

	// Reference to the secret half of the access key.
	// Example: secret_key = "credential:ttdl-secret"
	SecretKey Secret `toml:"secret_key,omitempty" need:"true" of:"s3"`

	// For how long nobody can delete what is written: object lock in compliance
	// mode, renewed for what is still needed. At least a day; whole days. It
	// cannot be taken back, not even by the owner of the bucket.
	// Example: object_lock = "30d"
	ObjectLock calendar.Duration `toml:"object_lock,omitempty" of:"s3"`

	// Name or address of the SSH server.
	// Example: host = "sftp.example.vn"
	Host string `toml:"host,omitempty" need:"true" of:"sftp"`

	// Port of the SSH server.
	// Example: port = 22
	Port int `toml:"port,omitempty" of:"sftp" default:"22" range:"1-65535"`

	// Account on the server.
	// Example: user = "saoluu"
	User string `toml:"user,omitempty" of:"sftp|rest"`

	// Reference to the SSH private key, without a passphrase.
	// Example: key = "file:/etc/saoluu/keys/nas.ssh"
	Key Secret `toml:"key,omitempty" need:"true" of:"sftp"`

	// File with the server's public key, as ssh-keyscan prints it. Compare it with
	// the server's own: nobody is asked, and no other key is accepted.
	// Example: known_hosts = "/etc/saoluu/known_hosts"
	KnownHosts string `toml:"known_hosts,omitempty" need:"true" of:"sftp"`

	// Address of the repository on a rest-server, without user; https, or http on
	// this machine only.
	// Example: url = "https://rest.example.vn:8000/stp/main"
	URL string `toml:"url,omitempty" need:"true" of:"rest"`

	// Reference to the account's password on the rest-server.
	// Example: user_password = "file:/etc/saoluu/keys/rest"
	UserPassword Secret `toml:"user_password,omitempty" of:"rest"`

	// Whether the rest-server only appends (--append-only). saoluu tries to delete
	// now and then, and raises an alarm when it can.
	// Example: append_only = true
	AppendOnly bool `toml:"append_only,omitempty" of:"rest" default:"false"`

	// File with the certificate of the authority that vouches for the server, in
	// PEM, when it is the agency's own.
	// Example: ca = "/etc/saoluu/ca.pem"
	CA string `toml:"ca,omitempty" of:"s3|rest"`

	// The repository's password, as a reference. Without it "saoluu init"
	// makes one, keeps it under state and seals it to the custodians.
	// Example: password = "file:/etc/saoluu/keys/nas"
	Password Secret `toml:"password,omitempty"`

	// How many backups may run into the repository at once.
	// Example: parallel = 4
	Parallel int `toml:"parallel,omitempty" default:"4" range:"1-64"`

	// How long after the last time the space of removed backups is freed again
	// (restic prune), which rewrites packs. Overdue freeing is a warning.
	// Example: prune_every = "1mo"
	PruneEvery calendar.Period `toml:"prune_every,omitempty" default:"7d"`

	// How much a second may be sent to the target: by backups, copies and whatever
	// else is written. Without it there is no bound.
	// Example: limit_upload = "512KiB"
	LimitUpload calendar.Bytes `toml:"limit_upload,omitempty"`

	// How much a second may be fetched from the target: by copies to others,
	// re-reads and restore tests. A real restore is not held back by it. Without it
	// there is no bound.
	// Example: limit_download = "2MiB"
	LimitDownload calendar.Bytes `toml:"limit_download,omitempty"`

	// How much re-reads and restore tests may fetch from the target in a calendar
	// month, for storage that charges for it. What it leaves unread counts as not
	// read; it is told where it cannot cover reread_every of the classes. Without it
	// there is no bound.
	// Example: egress_per_month = "50GB"
	EgressPerMonth calendar.Bytes `toml:"egress_per_month,omitempty" of:"local|s3|sftp|rest"`

	// The part of each day in which the target is looked after, by the clock of the
	// site; it may span midnight. Copies that are owed are made, packs read back and
	// space is freed in it alone, beginning when it opens; what does not fit waits
	// for the next one. Backups and their first copies keep to the schedule of their
	// job, and what is asked for by hand is done at once. Default: the whole day,
	// beginning at 05:30.
	// Example: window = "20:00-06:00"
	Window calendar.Window `toml:"window,omitempty" of:"local|s3|sftp|rest"`

	// Where the medium stands, if not at the agency; counts as another site.
	// Example: site = "Trung tâm dữ liệu tỉnh"
	Site string `toml:"site,omitempty"`

	// Name of the storage system below the target, where saoluu cannot see it: the
	// virtual disks of one array and the exports of one NAS have one name. Copies on
	// one system count once.
	// Example: storage_system = "NAS-tang-3"
	StorageSystem string `toml:"storage_system,omitempty"`

	// Whether the target counts as an external storage device.
	// Example: external = true
	External bool `toml:"external,omitempty" default:"false"`

	// Free space that a run must leave on the file system.
	// Example: reserve = "1GiB"
	Reserve calendar.Bytes `toml:"reserve" of:"local|sftp|removable" default:"1GiB"`
}

// Address returns the parsed Endpoint or URL, whichever the type has. It was
// checked when the configuration was loaded.
func (t Target) Address() *url.URL {
	u, err := url.Parse(t.Endpoint + t.URL)
	if err != nil {
		return &url.URL{}
	}
	return u
}

// Place says in one line where a target is, for people. It shows no secret.
func (t Target) Place() string {
	switch t.Type {
	case "s3":
		return strings.TrimSuffix(t.Endpoint, "/") + "/" + path.Join(t.Bucket, t.Prefix)
	case "sftp":
		return fmt.Sprintf("%s:%s", t.Host, t.Path)
	case "rest":
		return t.URL
	case "removable":
		return "medium " + t.Medium
	}
	return t.Path
}

// Repository is the target's address as restic takes it, for people: without
// passwords (restic manual, "Preparing a new repository").
func (t Target) Repository() string {
	switch t.Type {
	case "s3":
		return "s3:" + t.Place()
	case "sftp":
		return fmt.Sprintf("sftp://%s@%s/%s", t.User, net.JoinHostPort(t.Host, strconv.Itoa(t.Port)), t.Path)
	case "rest":
		return "rest:" + strings.TrimSuffix(t.URL, "/") + "/"
	case "removable":
		return path.Join(cmp.Or(t.Mount, "/MOUNT-POINT"), MediumFolder)
	}
	return t.Path
}

// MediumFolder is the folder of a medium's file system that holds its repository.
const MediumFolder = "saoluu"

func (c checker) targets() {
	nodes := c.named("targets")
	for i, n := range nodes {
		t := n.value.Addr().Interface().(*Target)
		c.target(t, n)
		for _, other := range nodes[:i] {
			c.sharing(t, other.value.Addr().Interface().(*Target), n, other)
		}
	}
}

// bucketName is what S3 allows (Amazon S3 user guide, "Bucket naming rules").
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (c checker) target(t *Target, n *node) {
	c.absolute(n, "path", t.Path)
	c.absolute(n, "mount", t.Mount)
	if n.good("medium") && !plainName.MatchString(t.Medium) {
		c.tell(n, "medium", fmt.Sprintf("medium %q cannot be used", t.Medium), "use letters, digits, - and _")
	}
	c.absolute(n, "known_hosts", t.KnownHosts)
	c.absolute(n, "ca", t.CA)
	for key, s := range map[string]Secret{
		"password": t.Password, "access_key": t.AccessKey, "secret_key": t.SecretKey, "key": t.Key, "user_password": t.UserPassword,
	} {
		c.secret(n, key, s)
	}
	c.address(n, "endpoint", t.Endpoint, false)
	c.address(n, "url", t.URL, true)
	if n.good("bucket") && !bucketName.MatchString(t.Bucket) {
		c.tell(n, "bucket", fmt.Sprintf("bucket %q cannot be used", t.Bucket), "use 3 to 63 small letters, digits, dots and -")
	}
	if n.good("prefix") && (path.Clean("/"+t.Prefix) != "/"+t.Prefix) {
		c.tell(n, "prefix", fmt.Sprintf("prefix %q is not clean", t.Prefix), "write it as \"stp/main\", without slashes at its ends")
	}
	if n.good("object_lock") && (t.ObjectLock.Std() < 24*time.Hour || t.ObjectLock.Std()%(24*time.Hour) != 0) {
		c.tell(n, "object_lock", fmt.Sprintf("object_lock %s is not a number of whole days", t.ObjectLock), "write \"30d\"")
	}
	for key, amount := range map[string]calendar.Bytes{"limit_upload": t.LimitUpload, "limit_download": t.LimitDownload, "egress_per_month": t.EgressPerMonth} {
		if n.good(key) && amount == 0 {
			c.tell(n, key, key+" is zero, and nothing could be moved", "leave it out for no limit")
		}
	}
	if n.good("host") && (t.Host == "" || strings.ContainsAny(t.Host, "/@ \t\"")) {
		c.tell(n, "host", fmt.Sprintf("host %q cannot be used", t.Host), "write the server's name or address alone")
	}
	if n.good("user") && strings.ContainsAny(t.User, "/@: \t\"") {
		c.tell(n, "user", fmt.Sprintf("user %q cannot be used", t.User), "write the account's name alone")
	}
	if t.Type == "sftp" && t.User == "" && n.good("type") {
		c.tell(n, "user", "key \"user\" is missing in "+n.String(), "name the account on the server")
	}
	if t.Type == "rest" && n.good("type") && (t.User == "") != (t.UserPassword == "") {
		c.tell(n, "user", "user and user_password belong together", "give both, or none when the server asks for none")
	}
}

// address checks where a server is reached. What leaves the machine is encrypted
// on the way (39/2024/QĐ-UBND, Điều 7.1b).
func (c checker) address(n *node, key, text string, withPath bool) {
	if !n.good(key) {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || (!withPath && strings.Trim(u.Path, "/") != ""):
		c.tell(n, key, fmt.Sprintf("%q is not the address of a server", key), "write it as \"https://server.example.vn\"")
	case u.User != nil:
		c.tell(n, key, key+" holds a user or a password", "put them into keys of their own, as references")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.tell(n, key, "data would go over the network in the clear", "use https")
	case u.Scheme != "https" && u.Scheme != "http":
		c.tell(n, key, fmt.Sprintf("unknown scheme %q", u.Scheme), "use https")
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// sharing reports two targets that share a place.
func (c checker) sharing(t, other *Target, n, at *node) {
	key, what, shared := "path", "folder", false
	switch {
	case t.Type != other.Type:
	case t.Type == "local":
		shared = n.good("path") && at.good("path") && (inside(t.Path, other.Path) || inside(other.Path, t.Path))
	case t.Type == "sftp":
		shared = n.good("path") && at.good("path") && t.Host == other.Host && t.Port == other.Port && (inside(t.Path, other.Path) || inside(other.Path, t.Path))
	case t.Type == "removable":
		key, what = "medium", "medium"
		shared = n.good("medium") && at.good("medium") && t.Medium == other.Medium
	case t.Type == "s3":
		key = "bucket"
		shared = n.good("bucket") && at.good("bucket") && t.Address().Host == other.Address().Host && t.Bucket == other.Bucket &&
			(inside("/"+t.Prefix, "/"+other.Prefix) || inside("/"+other.Prefix, "/"+t.Prefix))
	case t.Type == "rest":
		key = "url"
		shared = n.good("url") && at.good("url") && strings.TrimSuffix(t.URL, "/") == strings.TrimSuffix(other.URL, "/")
	}
	if shared {
		c.problems = append(c.problems, found{
			at: n.place(key), text: fmt.Sprintf("targets %q and %q share a %s", at.name, n.name, what),
			hint: fmt.Sprintf("give each target a %s of its own", what), also: new(at.place(key)),
		})
	}
}
