// Package escrow keeps keys from being lost with one machine or one person: it
// seals a secret to several custodians, each of whom can open it alone, and
// writes the sheet of paper by which a stranger restores.
//
// A sealed secret is one or two armored age files (age-encryption.org/v1), one
// after the other. Each opens with age alone. There are two when some custodians
// have post-quantum keys and others do not: age does not mix them in one file.
package escrow

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"saoluu/internal/fault"
)

// A Custodian is a person who can open what is sealed.
type Custodian struct {
	Name      string // as in the configuration
	Title     string // the person's office
	Recipient string // age1… or an SSH public key
}

// maxSecret bounds what is sealed, in bytes: keys have a line.
const maxSecret = 64 << 10

// Seal encrypts a secret so that each custodian can open it alone. What it
// returns is text and can be printed.
func Seal(secret []byte, to []Custodian) ([]byte, error) {
	const op = "seal a key"
	if len(to) == 0 {
		return nil, fault.New(fault.Usage, op, errors.New("there is no custodian"), "name custodians in the configuration")
	}
	if len(secret) == 0 || len(secret) > maxSecret {
		return nil, fault.New(fault.Usage, op, errors.New("the key is empty or larger than 64 KiB"), "")
	}
	var classic, quantum []age.Recipient
	for _, c := range to {
		r, err := recipient(c.Recipient)
		if err != nil {
			return nil, fault.New(fault.Usage, op, fmt.Errorf("the public key of custodian %q cannot be used", c.Name), "correct its recipient in the configuration")
		}
		if _, is := r.(*age.HybridRecipient); is {
			quantum = append(quantum, r)
		} else {
			classic = append(classic, r)
		}
	}
	var sealed bytes.Buffer
	for _, group := range [][]age.Recipient{classic, quantum} {
		if len(group) == 0 {
			continue
		}
		if err := encrypt(&sealed, secret, group); err != nil {
			return nil, fault.New(fault.Failed, op, err, "")
		}
	}
	return sealed.Bytes(), nil
}

func encrypt(to io.Writer, secret []byte, group []age.Recipient) error {
	text := armor.NewWriter(to)
	w, err := age.Encrypt(text, group...)
	if err != nil {
		return err
	}
	if _, err := w.Write(secret); err != nil {
		return err
	}
	return errors.Join(w.Close(), text.Close())
}

func recipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, "ssh-") {
		return agessh.ParseRecipient(text)
	}
	all, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(all) != 1 {
		return nil, errors.New("not one recipient")
	}
	return all[0], nil
}

// Recipients returns the public keys of custodians for one age file, which each of
// them can open alone. Keys of the classic and of the post-quantum sort together
// are refused: age does not mix them, because the file would only be as good as
// the weaker ones.
func Recipients(to []Custodian) ([]age.Recipient, error) {
	const op = "encrypt to the custodians"
	var all []age.Recipient
	quantum := 0
	for _, c := range to {
		r, err := recipient(c.Recipient)
		if err != nil {
			return nil, fault.New(fault.Usage, op, fmt.Errorf("the public key of custodian %q cannot be used", c.Name), "correct its recipient in the configuration")
		}
		if _, is := r.(*age.HybridRecipient); is {
			quantum++
		}
		all = append(all, r)
	}
	if quantum != 0 && quantum != len(all) {
		return nil, fault.New(fault.Refused, op, errors.New("some custodians have post-quantum keys and others do not, and one file cannot be for both"),
			"give all custodians keys of one sort")
	}
	return all, nil
}

// Open decrypts what Seal made. The kind of the error is WrongKey when the
// identities are not those of a custodian it was sealed to, and Damaged when what
// is there is not whole.
func Open(sealed []byte, identities []age.Identity) ([]byte, error) {
	const op = "open the sealed key"
	blocks := split(sealed)
	if len(blocks) == 0 {
		return nil, fault.New(fault.Damaged, op, errors.New("it is not an armored age file"), corruptHint)
	}
	for _, block := range blocks {
		r, err := age.Decrypt(armor.NewReader(bytes.NewReader(block)), identities...)
		var nobody *age.NoIdentityMatchError
		switch {
		case errors.As(err, &nobody):
			continue
		case err != nil:
			return nil, fault.New(fault.Damaged, op, err, corruptHint)
		}
		secret, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
		if err != nil || len(secret) == 0 || len(secret) > maxSecret {
			return nil, fault.New(fault.Damaged, op, errors.Join(errors.New("its content does not read back"), err), corruptHint)
		}
		return secret, nil
	}
	return nil, fault.New(fault.WrongKey, op, errors.New("the identity is not one it was sealed to"),
		"use the identity file of a custodian named on the recovery sheet")
}

const corruptHint = "take the sealed key from another target, from state/keys/sealed or from the recovery sheet"

// split returns the armored files in a text.
func split(text []byte) (blocks [][]byte) {
	for {
		from := bytes.Index(text, []byte(armor.Header))
		if from < 0 {
			return blocks
		}
		text = text[from:]
		to := bytes.Index(text, []byte(armor.Footer))
		if to < 0 {
			return append(blocks, text)
		}
		to += len(armor.Footer)
		blocks = append(blocks, append(bytes.Clone(text[:to]), '\n'))
		text = text[to:]
	}
}

// Fingerprint names a public key shortly, as ssh-keygen does: the SHA-256 of an
// SSH key's blob, or of an age recipient's text.
func Fingerprint(recipient string) string {
	recipient = strings.TrimSpace(recipient)
	if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(recipient)); err == nil {
		return ssh.FingerprintSHA256(key)
	}
	sum := sha256.Sum256([]byte(recipient))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// FingerprintsOf names the public halves of the private keys in an identity
// file, so that it can be told whose they are.
func FingerprintsOf(identityFile []byte) []string {
	if key, err := ssh.ParsePrivateKey(identityFile); err == nil {
		return []string{ssh.FingerprintSHA256(key.PublicKey())}
	}
	all, err := age.ParseIdentities(bytes.NewReader(identityFile))
	if err != nil {
		return nil
	}
	var prints []string
	for _, id := range all {
		switch id := id.(type) {
		case *age.X25519Identity:
			prints = append(prints, Fingerprint(id.Recipient().String()))
		case *age.HybridIdentity:
			prints = append(prints, Fingerprint(id.Recipient().String()))
		}
	}
	return prints
}
