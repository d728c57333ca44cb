package config

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"saoluu/internal/fault"
)

// put writes a file and returns its path.
func put(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretFromFile(t *testing.T) {
	tests := []struct{ content, want string }{
		{"hunter2", "hunter2"},
		{"hunter2\n", "hunter2"},
		{"hunter2\r\n", "hunter2"},
		{" hunter2 ", " hunter2 "},
	}
	for _, tt := range tests {
		got, err := Secret("file:" + put(t, "key", tt.content, 0o600)).Resolve(Secrets{})
		if err != nil || got != tt.want {
			t.Errorf("%q: got %q, %v; want %q", tt.content, got, err, tt.want)
		}
	}
}

func TestSecretRefused(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name   string
		secret Secret
		where  Secrets
		kind   fault.Kind
		want   string
	}{
		{"literal", "hunter2", Secrets{}, fault.Usage, "written out"},
		{"readable by all", Secret("file:" + put(t, "key", "hunter2", 0o644)), Secrets{}, fault.Refused, "mode 0644"},
		{"readable by the group", Secret("file:" + put(t, "key", "hunter2", 0o640)), Secrets{}, fault.Refused, "mode 0640"},
		{"missing", Secret("file:" + dir + "/none"), Secrets{}, fault.Usage, "no such file"},
		{"folder", Secret("file:" + dir), Secrets{}, fault.Usage, "not a regular file"},
		{"empty", Secret("file:" + put(t, "key", "\n", 0o600)), Secrets{}, fault.Usage, "empty"},
		{"two lines", Secret("file:" + put(t, "key", "hunter2\nhunter2\n", 0o600)), Secrets{}, fault.Usage, "more than one line"},
		{"huge", Secret("file:" + put(t, "key", strings.Repeat("hunter2", 10_000), 0o600)), Secrets{}, fault.Usage, "larger than 64 KiB"},
		{"no credentials", "credential:db", Secrets{}, fault.Usage, "no credentials"},
		{"missing credential", "credential:db", Secrets{CredentialsDir: dir}, fault.Usage, "no such file"},
		{"credential elsewhere", "credential:../key", Secrets{CredentialsDir: dir}, fault.Usage, "name may have"},
		{"no identity", "age:/etc/key.age", Secrets{}, fault.Usage, "no identity file"},
		{"bad identity", "age:/etc/key.age", Secrets{Identity: put(t, "id", "hunter2", 0o600)}, fault.Usage, "no usable age private key"},
		{"bad SSH identity", "age:/etc/key.age", Secrets{Identity: put(t, "id", "-----BEGIN hunter2", 0o600)}, fault.Usage, "not an SSH private key"},
		{"open identity", "age:/etc/key.age", Secrets{Identity: put(t, "id", "hunter2", 0o604)}, fault.Refused, "mode 0604"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.secret.Resolve(tt.where)
			if err == nil || got != "" {
				t.Fatalf("got %q, %v", got, err)
			}
			if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want) || fault.HintOf(err) == "" {
				t.Errorf("got kind %q: %v (hint %q)", fault.KindOf(err), err, fault.HintOf(err))
			}
			if strings.Contains(err.Error()+fault.HintOf(err), "hunter2") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestSecretFromCredential(t *testing.T) {
	// systemd gives credentials the mode 0440 in a folder of the service.
	path := put(t, "db", "hunter2\n", 0o440)
	got, err := Secret("credential:db").Resolve(Secrets{CredentialsDir: filepath.Dir(path)})
	if err != nil || got != "hunter2" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSecretFromAge(t *testing.T) {
	native, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	sshRecipient, sshPEM := sshKey(t)
	tests := []struct {
		name      string
		recipient age.Recipient
		identity  string
		armored   bool
	}{
		{"age key", native.Recipient(), native.String() + "\n", false},
		{"armored", native.Recipient(), "# a comment\n" + native.String() + "\n", true},
		{"SSH key", sshRecipient, sshPEM, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := put(t, "key.age", seal(t, tt.recipient, "hunter2\n", tt.armored), 0o644)
			got, err := Secret("age:" + file).Resolve(Secrets{Identity: put(t, "id", tt.identity, 0o600)})
			if err != nil || got != "hunter2" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := put(t, "key.age", seal(t, native.Recipient(), "hunter2\n", false), 0o600)
	_, err = Secret("age:" + file).Resolve(Secrets{Identity: put(t, "id", other.String(), 0o600)})
	if fault.KindOf(err) != fault.WrongKey {
		t.Errorf("another identity: %v", err)
	}
}

// seal encrypts to one recipient.
func seal(t *testing.T, to age.Recipient, text string, armored bool) string {
	t.Helper()
	var sealed bytes.Buffer
	var out io.Writer = &sealed
	lines := armor.NewWriter(&sealed)
	if armored {
		out = lines
	}
	w, err := age.Encrypt(out, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if armored {
		if err := lines.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return sealed.String()
}

// sshKey makes an SSH key pair.
func sshKey(t *testing.T) (age.Recipient, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := agessh.NewEd25519Recipient(sshPublic)
	if err != nil {
		t.Fatal(err)
	}
	return recipient, string(pem.EncodeToMemory(block))
}

// However it is printed, a secret shows the reference only, and nothing when it
// is not a reference.
func TestSecretPrintsOnlyTheReference(t *testing.T) {
	for _, format := range []string{"%v", "%s", "%q", "%+v", "%#v", "%x"} {
		if got := fmt.Sprintf(format, Secret("hunter2")); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74657232") {
			t.Errorf("%s prints %s", format, got)
		}
		inside := struct{ Password Secret }{"hunter2"}
		if got := fmt.Sprintf(format, inside); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74657232") {
			t.Errorf("%s prints %s", format, got)
		}
	}
	if got := Secret("file:/etc/key").String(); got != "file:/etc/key" {
		t.Errorf("got %q", got)
	}
	c, err := Load(Options{File: "testdata/valid/minimal.toml"})
	if err != nil {
		t.Fatal(err)
	}
	nas := c.Targets["nas"]
	nas.Password = "hunter2"
	c.Targets["nas"] = nas
	if text, err := Show(c); err != nil || bytes.Contains(text, []byte("hunter2")) {
		t.Errorf("shown: %v\n%s", err, text)
	}
}
