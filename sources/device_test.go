package sources

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"saoluu/internal/fault"
)

// played is a device on this machine: what it says after a login with a password.
type played struct {
	password string
	talk     func(channel ssh.Channel, command string) uint32 // exit status
}

// start serves one device and returns it as it is configured.
func (p played) start(t *testing.T) Device {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if string(password) != p.password {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn, config)
		}
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	known := filepath.Join(t.TempDir(), "known_hosts")
	line := fmt.Sprintf("[127.0.0.1]:%d %s", port, ssh.MarshalAuthorizedKey(signer.PublicKey()))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return Device{Name: "bien", Preset: "junos", Host: "127.0.0.1", Port: port, User: "saoluu", Password: p.password, KnownHosts: known, Silence: time.Minute}
}

func (p played) serve(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for one := range channels {
		channel, requests, err := one.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			_ = r.Reply(true, nil)
			if r.Type != "exec" && r.Type != "shell" {
				continue
			}
			command := ""
			if len(r.Payload) > 4 {
				command = string(r.Payload[4:])
			}
			if status := p.talk(channel, command); status != cut {
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			}
			_ = channel.Close()
			break
		}
	}
}

// cut is the end of a session without an exit status.
const cut = 999

func TestDevice(t *testing.T) {
	says := func(text string, status uint32) func(ssh.Channel, string) uint32 {
		return func(c ssh.Channel, _ string) uint32 { _, _ = io.WriteString(c, text); return status }
	}
	for _, tc := range []struct {
		name   string
		talk   func(ssh.Channel, string) uint32
		change func(*Device)
		want   string // what is saved
		err    string
		kind   fault.Kind
	}{
		{name: "by password", talk: says("## Last commit: now\r\nset system host-name bien\r\n", 0), want: "set system host-name bien\n"},
		{name: "more lines to drop", talk: says("set a\nset b\n", 0), change: func(d *Device) { d.Drop = []string{"^set b$"} }, want: "set a\n"},
		{name: "another command", talk: func(c ssh.Channel, command string) uint32 { _, _ = io.WriteString(c, command); return 0 }, change: func(d *Device) { d.Command = "show it" }, want: "show it\n"},
		{name: "a wrong password", talk: says("x", 0), change: func(d *Device) { d.Password = "other" }, err: "does not let", kind: fault.Denied},
		{name: "a status", talk: says("boom", 3), err: "status 3: boom", kind: fault.Failed},
		{name: "no status", talk: says("set system", cut), err: "cut off after 10 bytes", kind: fault.Failed},
		{name: "a refusal", talk: says("error: permission denied for show\n", 0), err: "it refused", kind: fault.Denied},
		{name: "a refusal in the end", talk: says(strings.Repeat("set system host-name bien\n", 400)+"error: communication failure\n", 0), err: "it refused", kind: fault.Denied},
		{name: "a long text with such words", talk: says("error: is the name\n"+strings.Repeat("set a\n", 1000), 0), want: "error: is the name\n" + strings.Repeat("set a\n", 1000)},
		{name: "a page", talk: says("set a\r\nset b\r\n---(more 12%)---", 0), err: "in pages", kind: fault.Failed},
		{name: "a page of another", talk: says("/ip dns\r\n -- more --", 0), change: func(d *Device) { d.Preset = "mikrotik" }, err: "in pages", kind: fault.Failed},
		{name: "rights that lack", talk: says("set version 1\nset system login user a authentication /* SECRET-DATA */\n", 0), err: "left out a part of its configuration: set system login", kind: fault.Failed},
		{name: "a secret that is shown", talk: says("set secret \"$9$x\" ## SECRET-DATA\n", 0), want: "set secret \"$9$x\" ## SECRET-DATA\n"},
		{name: "rights to nothing", talk: says("system { /* ACCESS-DENIED */ }\n", 0), err: "left out a part", kind: fault.Failed},
		{name: "a menu that did not answer", talk: says("/ip dns\nset servers=192.0.2.53\n#error exporting \"/interface/wifi\" (timeout)\n/system identity\nset name=a\n", 0),
			change: func(d *Device) { d.Preset = "mikrotik" }, err: "left out a part of its configuration: #error exporting \"/interface/wifi\"", kind: fault.Failed},
		{name: "an export that was stopped", talk: says("/ip dns\n#interrupted\n", 0), change: func(d *Device) { d.Preset = "mikrotik" }, err: "left out a part", kind: fault.Failed},
		{name: "a menu that never answers", talk: says("/ip dns\nset servers=192.0.2.53\n#error exporting \"/x\"\n", 0),
			change: func(d *Device) { d.Preset, d.Drop = "mikrotik", []string{`^#error exporting "/x"`} }, want: "/ip dns\nset servers=192.0.2.53\n"},
		{name: "nothing", talk: says("\r\n", 0), err: "showed nothing", kind: fault.Failed},
		{name: "a question", talk: func(c ssh.Channel, _ string) uint32 {
			_, _ = io.WriteString(c, "Enter password: ")
			<-make(chan struct{})
			return 0
		}, err: "asks for a password", kind: fault.Denied},
		{name: "a question, and the end", talk: says("Enter password: ", 0), err: "asks for a password", kind: fault.Denied},
		{name: "silence", talk: func(ssh.Channel, string) uint32 { <-make(chan struct{}); return 0 },
			change: func(d *Device) { d.Silence = 50 * time.Millisecond }, err: "said nothing", kind: fault.TimedOut},
		{name: "a shell that ends", talk: says("bien#", 0), change: func(d *Device) { d.Preset = "cisco-ios" }, err: "cut off", kind: fault.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := played{password: "s3cret-password", talk: tc.talk}.start(t)
			if tc.change != nil {
				tc.change(&d)
			}
			got, err := d.read(t.Context())
			if tc.err == "" {
				if err != nil || string(got.text) != tc.want {
					t.Errorf("%q, %v", got.text, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.err) || fault.KindOf(err) != tc.kind || fault.HintOf(err) == "" {
				t.Errorf("%v (%s), hint %q", err, fault.KindOf(err), fault.HintOf(err))
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the password shows: %v", err)
			}
		})
	}
}

// What a terminal was told to take back is not part of a configuration.
func TestPlainLines(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nb\r\n":                        "a\nb\n",
		"a\r\n--More-- \r        \rb\r\n":   "a\nb\n",
		"a\n\x08\x08\x08   \x08\x08\x08b\n": "a\nb\n",
		"\x1b[2Ka\x1b[0m \n":                "a\n",
		"":                                  "\n",
	} {
		if got := string(plainLines([]byte(in))); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

// What lacks for a login is told before the night comes, and no device is asked.
func TestDeviceReady(t *testing.T) {
	d := played{password: "s3cret-password", talk: func(ssh.Channel, string) uint32 { t.Error("it was asked"); return 1 }}.start(t)
	if err := (&Config{Devices: []Device{d}}).Examine(t.Context()); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Device){
		"its key is not in":          func(d *Device) { d.Host = "127.0.0.9" },
		"read the known hosts":       func(d *Device) { d.KnownHosts += ".none" },
		"read the SSH key":           func(d *Device) { d.Key = d.KnownHosts + ".none" },
		"the SSH key cannot be used": func(d *Device) { d.Key = d.KnownHosts },
	} {
		other := d
		change(&other)
		err := (&Config{Devices: []Device{other, d}}).Examine(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || fault.HintOf(err) == "" {
			t.Errorf("%q: %v", want, err)
		}
	}
	c := Config{Commands: []ConfigCommand{{Name: "so", Argv: []string{"saoluu-no-such-program"}}}}
	if err := c.Examine(t.Context()); fault.KindOf(err) != fault.MissingTool {
		t.Error(err)
	}
}
