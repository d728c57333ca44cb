package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Namespace is what bundle signatures are for ("ssh-keygen -Y verify -n").
const Namespace = "saoluu-evidence"

// The signature format is that of OpenSSH's PROTOCOL.sshsig.
const (
	sshMagic   = "SSHSIG"
	sshVersion = 1
	sshKeyType = "ssh-ed25519"
	sshHash    = "sha512"
	sshBegin   = "-----BEGIN SSH SIGNATURE-----\n"
	sshEnd     = "-----END SSH SIGNATURE-----\n"
	sshLine    = 70 // characters of base64 a line, as ssh-keygen writes
)

// signSSH returns the armored SSH signature of message.
func signSSH(key ed25519.PrivateKey, message []byte) []byte {
	sig := ed25519.Sign(key, sshSigned(message))
	return armorSSH(key.Public().(ed25519.PublicKey), sig)
}

// sshSigned is what is really signed: the digest and what it is for.
func sshSigned(message []byte) []byte {
	digest := sha512.Sum512(message)
	b := sshString([]byte(sshMagic), []byte(Namespace))
	b = sshString(b, nil) // reserved
	b = sshString(b, []byte(sshHash))
	return sshString(b, digest[:])
}

func armorSSH(key ed25519.PublicKey, sig []byte) []byte {
	blob := binary.BigEndian.AppendUint32([]byte(sshMagic), sshVersion)
	blob = sshString(blob, sshPublic(key))
	blob = sshString(blob, []byte(Namespace))
	blob = sshString(blob, nil) // reserved
	blob = sshString(blob, []byte(sshHash))
	blob = sshString(blob, sshString(sshString(nil, []byte(sshKeyType)), sig))
	text := base64.StdEncoding.EncodeToString(blob)
	var b bytes.Buffer
	b.WriteString(sshBegin)
	for len(text) > 0 {
		n := min(sshLine, len(text))
		b.WriteString(text[:n])
		b.WriteByte('\n')
		text = text[n:]
	}
	b.WriteString(sshEnd)
	return b.Bytes()
}

// verifySSH verifies an armored signature. Our signatures have one form, so
// the signature is taken from its place and the rest must be what we would
// have written around it.
func verifySSH(key ed25519.PublicKey, message, armored []byte) error {
	text, begins := strings.CutPrefix(string(armored), sshBegin)
	text, ends := strings.CutSuffix(text, sshEnd)
	if !begins || !ends {
		return errors.New("the signature is not an SSH signature")
	}
	blob, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(blob) < ed25519.SignatureSize {
		return errors.New("the signature is not an SSH signature")
	}
	sig := blob[len(blob)-ed25519.SignatureSize:]
	if !bytes.Equal(armorSSH(key, sig), armored) {
		return fmt.Errorf("the signature is not one for %q by this key", Namespace)
	}
	if !ed25519.Verify(key, sshSigned(message), sig) {
		return errors.New("the signature does not belong to this text")
	}
	return nil
}

// sshPublic is a public key in the SSH wire format.
func sshPublic(key ed25519.PublicKey) []byte {
	return sshString(sshString(nil, []byte(sshKeyType)), key)
}

// publicLine is a public key file: type, key, and the origin as comment.
func publicLine(key ed25519.PublicKey, origin string) string {
	return fmt.Sprintf("%s %s %s\n", sshKeyType, base64.StdEncoding.EncodeToString(sshPublic(key)), origin)
}

// parsePublicLine is the inverse of publicLine.
func parsePublicLine(line []byte) (ed25519.PublicKey, string, error) {
	fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), " ", 3)
	if len(fields) != 3 {
		return nil, "", errors.New("the public key is not one line of type, key and name")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || len(blob) < ed25519.PublicKeySize {
		return nil, "", errors.New("the public key is malformed")
	}
	key := ed25519.PublicKey(blob[len(blob)-ed25519.PublicKeySize:])
	if publicLine(key, fields[2]) != string(line) {
		return nil, "", errors.New("the public key is malformed")
	}
	return key, fields[2], nil
}

// fingerprint is what "ssh-keygen -l" prints of a key.
func fingerprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256(sshPublic(key))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
