package restic

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	//lint:ignore SA1019 restic's format is Poly1305-AES, which no other package offers
	"golang.org/x/crypto/poly1305"
	"golang.org/x/crypto/scrypt"

	"saoluu/internal/fault"
)

// A FastKey is a second key of a repository, for the daemon alone: a password of
// 256 random bits that costs next to nothing to open the repository with. Restic's
// costly derivation makes guessing people's passwords slow; there is nothing to
// guess in 256 random bits, so it would only cost time, most of a small run
// (docs/decisions, "A key of the daemon's own").
type FastKey struct {
	ID       string // of the key file: what restic calls the key hint
	Password string // never anybody's; made by NewFastKey
	File     []byte // content of the file "keys/ID" in the repository
}

// Sizes of restic's key files (restic design document, "Keys, Encryption and MAC").
const (
	saltBytes   = 64
	nonceBytes  = 16
	macBytes    = 16
	cipherBytes = 32
)

// DaemonUser is the name in the daemon's key files, by which they are told from
// people's.
const DaemonUser = "saoluu-daemon"

// fastN, fastR and fastP are the least scrypt parameters restic accepts.
const fastN, fastR, fastP = 2, 1, 1

// keyFile is the content of a file in "keys".
type keyFile struct {
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	KDF      string    `json:"kdf"`
	N        int       `json:"N"`
	R        int       `json:"r"`
	P        int       `json:"p"`
	Salt     string    `json:"salt"`
	Data     string    `json:"data"`
}

// NewFastKey makes a fast key for a repository that its own key opens. It writes
// nothing: whoever calls it puts File into the repository.
func (e *Engine) NewFastKey(ctx context.Context, r Repo, host string, now time.Time) (FastKey, error) {
	op := fmt.Sprintf("make a fast key for %q", r.Name)
	if err := r.usable(op); err != nil {
		return FastKey{}, err
	}
	h, err := r.Gate.enter(ctx, op, light)
	if err != nil {
		return FastKey{}, err
	}
	defer h.release()
	master, err := e.output(ctx, r, call{op: op, args: []string{"cat", "masterkey"}, files: h})
	if err != nil {
		return FastKey{}, err
	}
	var checked struct {
		MAC, Encrypt json.RawMessage
	}
	if err := json.Unmarshal(master, &checked); err != nil || checked.MAC == nil || checked.Encrypt == nil {
		return FastKey{}, fault.New(fault.Failed, op, fmt.Errorf("restic %s prints no master key that can be understood", e.Version), "")
	}
	var random [cipherBytes + saltBytes]byte
	if _, err := rand.Read(random[:]); err != nil {
		return FastKey{}, err
	}
	password := base64.RawURLEncoding.EncodeToString(random[:cipherBytes])
	salt := random[cipherBytes:]
	data, err := seal(password, salt, master)
	if err != nil {
		return FastKey{}, fault.New(fault.Failed, op, err, "")
	}
	content, err := json.Marshal(keyFile{
		Created: now, Username: DaemonUser, Hostname: host, KDF: "scrypt", N: fastN, R: fastR, P: fastP,
		Salt: base64.StdEncoding.EncodeToString(salt), Data: base64.StdEncoding.EncodeToString(data),
	})
	if err != nil {
		return FastKey{}, fault.New(fault.Failed, op, err, "")
	}
	sum := sha256.Sum256(content)
	return FastKey{ID: hex.EncodeToString(sum[:]), Password: password, File: content}, nil
}

// seal encrypts the master key under a password as restic does: scrypt gives 64
// bytes, a key of AES-256 in counter mode and the two halves of a Poly1305-AES
// key; the result is nonce, ciphertext, MAC.
func seal(password string, salt, plain []byte) ([]byte, error) {
	derived, err := scrypt.Key([]byte(password), salt, fastN, fastR, fastP, cipherBytes+2*macBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived[:cipherBytes])
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, nonceBytes+len(plain), nonceBytes+len(plain)+macBytes)
	nonce := sealed[:nonceBytes]
	if _, err := io.ReadFull(rand.Reader, nonce); err != nil {
		return nil, err
	}
	cipher.NewCTR(block, nonce).XORKeyStream(sealed[nonceBytes:], plain)
	mac, err := poly1305AES(derived[cipherBytes:cipherBytes+macBytes], derived[cipherBytes+macBytes:], nonce, sealed[nonceBytes:])
	return append(sealed, mac...), err
}

// poly1305AES is Bernstein's Poly1305-AES of a message under the key (k, r).
func poly1305AES(k, r, nonce, message []byte) ([]byte, error) {
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	var key [32]byte
	copy(key[:macBytes], r)
	block.Encrypt(key[macBytes:], nonce)
	var mac [macBytes]byte
	poly1305.Sum(&mac, message, &key)
	return mac[:], nil
}
