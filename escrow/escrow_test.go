package escrow

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"saoluu/internal/fault"
)

// Each custodian opens it alone, whatever the kinds of keys, and a stranger does
// not.
func TestSealAndOpen(t *testing.T) {
	secret := []byte("a repository key\n")
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	sshFile := pem.EncodeToMemory(block)
	sshIdentity, err := agessh.ParseIdentity(sshFile)
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPublic)))
	all := []Custodian{{Name: "x", Recipient: x.Recipient().String()}, {Name: "pq", Recipient: pq.Recipient().String()}, {Name: "ssh", Recipient: line}}
	sealed, err := Seal(secret, all)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, secret[:8]) {
		t.Error("the secret stands in it")
	}
	for name, id := range map[string]age.Identity{"x": x, "pq": pq, "ssh": sshIdentity} {
		got, err := Open(sealed, []age.Identity{id})
		if err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(sealed, []age.Identity{stranger}); fault.KindOf(err) != fault.WrongKey {
		t.Errorf("stranger: %v", err)
	}
	for file, want := range map[string]string{x.String(): all[0].Recipient, pq.String(): all[1].Recipient, string(sshFile): line} {
		if got := FingerprintsOf([]byte(file)); len(got) != 1 || got[0] != Fingerprint(want) {
			t.Errorf("fingerprints %q, want that of %.30s", got, want)
		}
	}
	only, err := Seal(secret, all[:1])
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string][]byte{
		"empty": nil, "text": []byte("hello"), "cut": only[:len(only)/2],
		"flipped": bytes.Replace(only, only[len(only)-60:len(only)-56], []byte("AAAA"), 1),
	}
	for name, bad := range damaged {
		if _, err := Open(bad, []age.Identity{x}); fault.KindOf(err) != fault.Damaged {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Seal(secret, nil); fault.KindOf(err) != fault.Usage {
		t.Errorf("nobody: %v", err)
	}
}
