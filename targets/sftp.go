package targets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"saoluu/internal/fault"
	"saoluu/restic"
)

// SFTP is a folder on an SSH server. The server's key must be known beforehand:
// nothing asks, nothing is trusted on first use.
type SFTP struct {
	Name         string
	Host         string
	Port         int
	User         string
	Path         string // absolute
	Key          string // file with the private key
	KnownHosts   string // file in the format of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"
	Site         string // code of the site that owns it
	ID           string // identity enrolled before; empty: never enrolled
	Declared     Declared
	ReserveBytes int64       // free space that must remain
	Repository   restic.Repo // its URL and Options come from SFTPRepo
}

var (
	_ Target    = (*SFTP)(nil)
	_ Enroller  = (*SFTP)(nil)
	_ Measurer  = (*SFTP)(nil)
	_ Finder    = (*SFTP)(nil)
	_ KeyKeeper = (*SFTP)(nil)
)

// dialTimeout bounds a connection and its handshake.
const dialTimeout = 20 * time.Second

// SFTPRepo returns the address and options by which restic and the ssh it starts
// reach the target (restic manual, "SFTP"; ssh_config(5)): our key and our known
// hosts alone, no questions, no configuration of the user's own.
func (s *SFTP) SFTPRepo() (url string, options []string) {
	args := []string{
		"-F", "/dev/null", "-i", quoted(s.Key),
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", quoted("UserKnownHostsFile=" + s.KnownHosts), "-o", "GlobalKnownHostsFile=/dev/null", "-o", "UpdateHostKeys=no",
		"-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
	}
	host := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	return fmt.Sprintf("sftp://%s@%s/%s", s.User, host, s.Path), []string{"sftp.args=" + strings.Join(args, " ")}
}

// quoted protects blanks from restic's splitting of sftp.args.
func quoted(arg string) string { return `"` + arg + `"` }

// Repo returns the repository at Path.
func (s *SFTP) Repo() restic.Repo { return s.Repository }

func (s *SFTP) owner() owner {
	return owner{name: s.Name, site: s.Site, id: s.ID, at: fmt.Sprintf("%s on %s", s.Path, s.Host)}
}

// Ready checks what Local checks, through one connection.
func (s *SFTP) Ready(ctx context.Context) error {
	op := fmt.Sprintf("target %q", s.Name)
	return s.connected(ctx, func(d *distant) error {
		away := fault.New(fault.Absent, op, fmt.Errorf("%s is not there or not mounted on %s (no %s)", s.Path, s.Host, MarkerName),
			"see whether the server's disk is mounted, or run \"saoluu init\" if this target is new")
		if err := s.owner().ready(ctx, d, away); err != nil {
			return err
		}
		return s.roomFor(op, d)
	})
}

// roomFor looks at the free space when the server can tell (statvfs@openssh.com).
func (s *SFTP) roomFor(op string, d *distant) error {
	if _, can := d.client.HasExtension("statvfs@openssh.com"); !can {
		return nil
	}
	st, err := d.client.StatVFS(s.Path)
	if err != nil {
		return d.classed(err)
	}
	free := int64(st.Bavail * st.Frsize)
	if free < nothingFree {
		return fault.New(fault.NoSpace, op, fmt.Errorf("no space left in %s on %s", s.Path, s.Host), "free some space on the server")
	}
	if free < s.ReserveBytes {
		return fault.New(fault.NoSpace, op,
			fmt.Errorf("%d MiB free in %s on %s, %d MiB must remain", free>>20, s.Path, s.Host, s.ReserveBytes>>20),
			"free some space on the server, or lower the target's reserve")
	}
	return nil
}

// Enroll makes the folder if its parent is there, and marks it.
func (s *SFTP) Enroll(ctx context.Context) (id string, err error) {
	err = s.connected(ctx, func(d *distant) error {
		if err := d.client.Mkdir(s.Path); err != nil {
			if _, there := d.client.Stat(s.Path); there != nil {
				return d.classed(err)
			}
		}
		id, err = s.owner().enroll(ctx, d)
		return err
	})
	return id, err
}

// Claim reads the marker.
func (s *SFTP) Claim(ctx context.Context) error {
	return s.connected(ctx, func(d *distant) error { return s.owner().claimed(ctx, d) })
}

// HasRepository looks for the repository's configuration.
func (s *SFTP) HasRepository(ctx context.Context) (there bool, err error) {
	err = s.connected(ctx, func(d *distant) error {
		there, err = repositoryIn(ctx, d)
		return err
	})
	return there, err
}

// HasSnapshot looks for the snapshot's file and compares its content with its name.
func (s *SFTP) HasSnapshot(ctx context.Context, id string) (held bool, err error) {
	err = s.connected(ctx, func(d *distant) error {
		held, err = holds(ctx, d, id)
		return err
	})
	return held, err
}

// Separation compares the server with the machines and disks the data lie on.
func (s *SFTP) Separation(ctx context.Context, locations []string) (Separation, error) {
	return separation(ctx, machine(), HostLocation(s.Host), s.Declared, locations)
}

// PutKey writes a key file into the repository.
func (s *SFTP) PutKey(ctx context.Context, id string, content []byte) error {
	return s.connected(ctx, func(d *distant) error { return d.create(ctx, "keys/"+id, content) })
}

// RemoveAll removes the folder on the server.
func (s *SFTP) RemoveAll(ctx context.Context) error {
	return s.connected(ctx, func(d *distant) error { return d.classed(d.client.RemoveAll(s.Path)) })
}

// connected runs do over a connection of its own.
func (s *SFTP) connected(ctx context.Context, do func(*distant) error) error {
	// A server that falls silent must not hold us: closing the connection ends
	// whatever waits on it.
	bounded, cancel := context.WithTimeout(ctx, 3*dialTimeout)
	defer cancel()
	d, hangUp, err := s.dial(bounded)
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer hangUp()
	return do(d)
}

// dial logs in. The connection is closed by hangUp, and when ctx ends.
func (s *SFTP) dial(ctx context.Context) (d *distant, hangUp func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	config, err := s.login()
	if err != nil {
		return nil, nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil {
		return nil, nil, netFault(s.Name, err)
	}
	forget := context.AfterFunc(ctx, func() { _ = conn.Close() })
	cut := func() { forget(); _ = conn.Close() }
	c, chans, requests, err := ssh.NewClientConn(conn, net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), config)
	if err != nil {
		cut()
		return nil, nil, s.refused(err)
	}
	client, err := sftp.NewClient(ssh.NewClient(c, chans, requests))
	if err != nil {
		cut()
		return nil, nil, netFault(s.Name, fmt.Errorf("start sftp on %s: %w", s.Host, err))
	}
	return &distant{s, client}, func() { _ = client.Close(); cut() }, nil
}

// login says who we are and by what we know the server.
func (s *SFTP) login() (*ssh.ClientConfig, error) {
	op := fmt.Sprintf("target %q", s.Name)
	text, err := os.ReadFile(s.Key)
	if err != nil {
		return nil, fault.New(fault.Denied, op, fmt.Errorf("read the SSH key: %w", err), "correct key in the configuration")
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fault.New(fault.Usage, op, fmt.Errorf("the SSH key cannot be used: %w", err), "give a private key without a passphrase, for this target alone")
	}
	known, err := knownhosts.New(s.KnownHosts)
	if err != nil {
		return nil, fault.New(fault.Usage, op, fmt.Errorf("read the known hosts: %w", err), fmt.Sprintf("write the server's key into %s; ssh-keyscan prints it, compare it with the server's own", s.KnownHosts))
	}
	return &ssh.ClientConfig{
		User: s.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: dialTimeout,
		HostKeyCallback: known, HostKeyAlgorithms: s.algorithms(known),
	}, nil
}

// algorithms are those of the keys known for the server: otherwise it may offer
// another of its keys, which would look like a stranger's.
func (s *SFTP) algorithms(known ssh.HostKeyCallback) []string {
	var unknown *knownhosts.KeyError
	address := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	if !errors.As(known(address, &net.TCPAddr{}, noKey{}), &unknown) {
		return nil
	}
	var names []string
	for _, k := range unknown.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			names = append(names, t)
		}
	}
	return names
}

// noKey is a key no server has: asking for it makes the list of known keys come back.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

// refused classes a failed handshake.
func (s *SFTP) refused(err error) error {
	op := fmt.Sprintf("target %q", s.Name)
	var key *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return fault.New(fault.WrongTarget, op, fmt.Errorf("the key of %s is marked as revoked", s.Host), "ask who runs the server for its present key")
	case errors.As(err, &key) && len(key.Want) == 0:
		return fault.New(fault.WrongTarget, op, fmt.Errorf("the key of %s is not in %s", s.Host, s.KnownHosts),
			fmt.Sprintf("run \"ssh-keyscan -p %d %s\", compare with the server's own key, and add it there", s.Port, s.Host))
	case errors.As(err, &key):
		return fault.New(fault.WrongTarget, op, fmt.Errorf("the key of %s is another than in %s: somebody may be in between", s.Host, s.KnownHosts),
			"ask who runs the server whether its key was changed before you replace it")
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fault.New(fault.Denied, op, fmt.Errorf("%s does not let %s in with this key", s.Host, s.User), "add the public key to the account on the server")
	}
	return netFault(s.Name, fmt.Errorf("log in to %s: %w", s.Host, err))
}

// A distant folder is the storage of an SFTP target.
type distant struct {
	target *SFTP
	client *sftp.Client
}

func (d *distant) read(_ context.Context, name string) ([]byte, error) {
	f, err := d.client.Open(path.Join(d.target.Path, name))
	if err != nil {
		return nil, d.classed(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSmall))
	return content, d.classed(err)
}

// create writes beside the name and renames, so that no half file has the name.
func (d *distant) create(_ context.Context, name string, content []byte) error {
	final := path.Join(d.target.Path, name)
	if err := d.draft(final+draftEnd, content); err != nil {
		_ = d.client.Remove(final + draftEnd) // what is left of it is passed over
		return d.classed(err)
	}
	return d.classed(d.client.Rename(final+draftEnd, final))
}

// draftEnd ends the names of files that are being written.
const draftEnd = ".new"

func (d *distant) draft(name string, content []byte) error {
	f, err := d.client.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if _, can := d.client.HasExtension("fsync@openssh.com"); can {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d *distant) strange(ctx context.Context) (bool, error) {
	entries, err := d.client.ReadDirContext(ctx, d.target.Path)
	for _, e := range entries {
		if e.Name() != "lost+found" && e.Name() != MarkerName+draftEnd {
			return true, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return false, d.classed(err)
}

// classed gives an error of the server's its kind.
func (d *distant) classed(err error) error {
	op := fmt.Sprintf("target %q", d.target.Name)
	var status *sftp.StatusError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.Absent, op, err, fmt.Sprintf("see whether the folder above %s is there on %s", d.target.Path, d.target.Host))
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, op, err, "correct the permissions of the folder on the server")
	case errors.As(err, &status) && d.full():
		return fault.New(fault.NoSpace, op, fmt.Errorf("no space left on device %s lies on at %s", d.target.Path, d.target.Host), "free some space on the server")
	case errors.As(err, &status):
		// SSH_FX_FAILURE says no more; a full disk is what it mostly means.
		return fault.New(fault.Failed, op, fmt.Errorf("the server refused: %w", err), "see whether the server's disk is full or read-only")
	}
	return netFault(d.target.Name, err)
}

// full reports whether the server says that its disk is full.
func (d *distant) full() bool {
	if _, can := d.client.HasExtension("statvfs@openssh.com"); !can {
		return false
	}
	for _, dir := range []string{d.target.Path, path.Dir(d.target.Path)} {
		if st, err := d.client.StatVFS(dir); err == nil {
			return st.Bavail*st.Frsize < nothingFree
		}
	}
	return false
}
