package sources

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"saoluu/internal/fault"
)

// A Device is a router, a switch or a firewall that shows its configuration over SSH.
// Its key must be known beforehand: nothing asks, nothing is trusted on first use.
type Device struct {
	// Name is what its configuration is called in the backup.
	Name string
	// Preset is the family it belongs to, one of DevicePresets.
	Preset string
	// Command shows the configuration instead of the family's own; optional.
	Command string
	// Drop are patterns of lines that change by themselves, beside the family's own.
	Drop []string
	Host string
	Port int
	User string
	// Key is a file with a private key; or Password is set.
	Key, Password string
	// KnownHosts is a file in the format of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
	KnownHosts string
	// Legacy lets in algorithms that are weak, for devices that know no others.
	Legacy bool
	// Silence is how long it may say nothing; 0 means deviceSilence.
	Silence time.Duration
}

const (
	deviceDial    = 20 * time.Second // a connection and its handshake
	deviceSilence = 30 * time.Second // a slow device thinks for some seconds before it shows all
	deviceLimit   = 5 * time.Minute  // a whole session
	deviceBytes   = 32 << 20         // most that is kept; the longest configurations are a few MiB
)

func (d Device) op() string { return fmt.Sprintf("device %q", d.Name) }

func (d Device) fault(kind fault.Kind, hint, format string, args ...any) error {
	return fault.New(kind, d.op(), fmt.Errorf(format, args...), hint)
}

// read logs in, has the configuration shown, and returns it without what changes by
// itself. A configuration that was cut off is an error.
func (d Device) read(ctx context.Context) (statement, error) {
	preset, known := devicePresets(d.Preset)
	if !known {
		return statement{}, d.fault(fault.Usage, "use one of: "+strings.Join(DevicePresets(), ", "), "unknown preset %q", d.Preset)
	}
	preset.command = cmp.Or(d.Command, preset.command)
	ctx, cancel := context.WithTimeoutCause(ctx, deviceLimit, d.fault(fault.TimedOut, "see what it waits for", "over its limit of %s", deviceLimit))
	defer cancel()
	client, err := d.dial(ctx)
	if err != nil {
		return statement{}, err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, func() { _ = client.Close() })()
	text, err := d.show(ctx, client, preset)
	if ctx.Err() != nil {
		return statement{}, context.Cause(ctx)
	}
	if err != nil {
		return statement{}, err
	}
	first, err := d.judge(text, preset)
	if err != nil || preset.settle == nil {
		return first, err
	}
	// What it writes anew each time it is asked is known by asking twice.
	text, err = d.show(ctx, client, preset)
	if ctx.Err() != nil {
		return statement{}, context.Cause(ctx)
	}
	if err != nil {
		return statement{}, err
	}
	second, err := d.judge(text, preset)
	first.comparable = steady(first.text, second.text, preset.settle)
	return first, err
}

// steady returns a text without what matches and is another in a second showing of it, or
// without all that matches when that has not as many: then somebody changed it meanwhile.
func steady(text, again []byte, matches *regexp.Regexp) []byte {
	was, is := matches.FindAllIndex(text, -1), matches.FindAll(again, -1)
	var out []byte
	end := 0
	for i, at := range was {
		if len(was) == len(is) && bytes.Equal(text[at[0]:at[1]], is[i]) {
			continue
		}
		out = append(out, text[end:at[0]]...)
		end = at[1]
	}
	return append(out, text[end:]...)
}

// judge refuses what is no whole configuration and leaves out what changes by itself.
func (d Device) judge(text []byte, preset devicePreset) (statement, error) {
	text = plainLines(text)
	if m := preset.refusal(text); m != nil {
		return statement{}, d.fault(fault.Denied, "let this user show the whole configuration, or set command", "it refused %q: %s", preset.command, m)
	}
	if asks.Match(bytes.TrimRight(tailOf(text), "\n")) {
		return statement{}, d.asked()
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return statement{}, d.fault(fault.Failed, "log in by hand and see what it says", "it showed nothing")
	}
	// Who runs one command has no key to press: a device that waits for one has said a page.
	if more.Match(bytes.TrimRight(tailOf(text), "\n")) {
		return statement{}, d.fault(fault.Failed, "set command to one that shows all at once", "it shows its configuration in pages, and stopped after %d lines", bytes.Count(text, []byte{'\n'}))
	}
	if preset.whole != nil && !preset.whole.Match(text) {
		return statement{}, d.fault(fault.Failed, "try again; if it stays so, log in by hand and see where it stops", "its configuration was cut off after %d lines", bytes.Count(text, []byte{'\n'}))
	}
	text, err := dropLines(text, slices.Concat(preset.drop, d.Drop))
	if err != nil {
		return statement{}, fault.New(fault.Usage, d.op(), err, "mend its drop patterns")
	}
	if hole := preset.hole(text); hole != nil {
		return statement{}, d.fault(fault.Failed, "let this user see it all; a part that can never be shown may be named in drop", "it left out a part of its configuration: %s", hole)
	}
	text = bytes.TrimLeft(text, "\n")
	return statement{text: text}, nil
}

func firstLine(text []byte) []byte {
	line, _, _ := bytes.Cut(bytes.TrimLeft(text, "\r\n "), []byte{'\n'})
	return line[:min(len(line), 120)]
}

// erased is what a device writes to take the question for more off the screen.
var erased = regexp.MustCompile("(?:\x08+ *\x08*)+|\x1b\\[[0-9;]*[A-Za-z]")

// plainLines makes plain lines of what was meant for a terminal.
func plainLines(text []byte) []byte {
	text = erased.ReplaceAll(text, nil)
	var out []byte
	for line := range bytes.Lines(text) {
		bare := bytes.TrimRight(line, "\r\n")
		if i := bytes.LastIndexByte(bare, '\r'); i >= 0 {
			bare = bare[i+1:] // what stood there before was written over
		}
		out = append(append(out, bytes.TrimRight(bare, " ")...), '\n')
	}
	return append(bytes.Trim(out, "\n"), '\n')
}

// dial connects and logs in.
func (d Device) dial(ctx context.Context) (*ssh.Client, error) {
	config, err := d.config()
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
	ctx, cancel := context.WithTimeout(ctx, deviceDial)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fault.New(fault.Absent, d.op(), err, "see whether it is switched on and can be reached from here")
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		_ = conn.Close()
		return nil, d.refusal(ctx, err)
	}
	return ssh.NewClient(c, channels, requests), nil
}

// ready reports what lacks for a login before anybody is asked.
func (d Device) ready() error {
	config, err := d.config()
	if err != nil || len(config.HostKeyAlgorithms) > 0 {
		return err
	}
	text, err := os.ReadFile(d.KnownHosts)
	if err != nil || bytes.Contains(text, []byte("@cert-authority")) {
		return err
	}
	return d.stranger()
}

// stranger is the error for a device whose key nobody has written down.
func (d Device) stranger() error {
	return d.fault(fault.WrongTarget, fmt.Sprintf("run \"ssh-keyscan -p %d %s\", compare with the device's own key, and add it there", d.Port, d.Host), "its key is not in %s", d.KnownHosts)
}

// config says who we are and which key the device must have.
func (d Device) config() (*ssh.ClientConfig, error) {
	known, err := knownhosts.New(d.KnownHosts)
	if err != nil {
		return nil, d.fault(fault.Usage, fmt.Sprintf("write the device's key into %s; ssh-keyscan prints it, compare it with the device's own", d.KnownHosts), "read the known hosts: %w", err)
	}
	config := &ssh.ClientConfig{User: d.User, HostKeyCallback: known, Timeout: deviceDial, HostKeyAlgorithms: d.algorithms(known)}
	if d.Legacy {
		weak := ssh.InsecureAlgorithms()
		config.SetDefaults()
		config.KeyExchanges = append(config.KeyExchanges, weak.KeyExchanges...)
		config.Ciphers = append(config.Ciphers, weak.Ciphers...)
		config.MACs = append(config.MACs, weak.MACs...)
	}
	if d.Key == "" {
		config.Auth = []ssh.AuthMethod{ssh.Password(d.Password), ssh.KeyboardInteractive(d.answer)}
		return config, nil
	}
	text, err := os.ReadFile(d.Key)
	if err != nil {
		return nil, d.fault(fault.Denied, "let the user that runs saoluu read it", "read the SSH key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, d.fault(fault.Usage, "give a private key without a passphrase, for this purpose alone", "the SSH key cannot be used: %w", err)
	}
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	return config, nil
}

// answer gives the password to the one question that hides what is typed, and nothing
// to any other.
func (d Device) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	switch {
	case len(questions) == 0:
		return nil, nil
	case len(questions) == 1 && !echos[0]:
		return []string{d.Password}, nil
	default:
		return nil, errors.New("it asks more than a password")
	}
}

// algorithms are those of the keys known for the device: otherwise it may offer another
// of its keys, which would look like a stranger's.
func (d Device) algorithms(known ssh.HostKeyCallback) []string {
	var unknown *knownhosts.KeyError
	if !errors.As(known(net.JoinHostPort(d.Host, strconv.Itoa(d.Port)), &net.TCPAddr{}, noHostKey{}), &unknown) {
		return nil
	}
	var names []string
	for _, k := range unknown.Want {
		switch kind := k.Key.Type(); {
		case kind != ssh.KeyAlgoRSA:
			names = append(names, kind)
		case d.Legacy:
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA)
		default:
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		}
	}
	return names
}

// noHostKey is a key nobody has: asking for it makes the list of known keys come back.
type noHostKey struct{}

func (noHostKey) Type() string                        { return "none" }
func (noHostKey) Marshal() []byte                     { return []byte("none") }
func (noHostKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

// refusal classes a failed handshake.
func (d Device) refusal(ctx context.Context, err error) error {
	var key *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return d.fault(fault.WrongTarget, "ask who runs the device for its present key", "its key is marked as revoked")
	case errors.As(err, &key) && len(key.Want) == 0:
		return d.stranger()
	case errors.As(err, &key):
		return d.fault(fault.WrongTarget, "ask who runs the device whether its key was changed before you replace it", "its key is another than in %s: somebody may be in between", d.KnownHosts)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return d.fault(fault.Denied, "see whether the account is there and may log in over SSH", "it does not let %q in with this key or password", d.User)
	case ctx.Err() != nil:
		return d.fault(fault.TimedOut, "see whether it answers an SSH client", "no login within %s", deviceDial)
	}
	return fault.New(fault.Absent, d.op(), fmt.Errorf("log in: %w", err), "see whether it answers an SSH client, and what it logs")
}
