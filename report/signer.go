package report

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"saoluu/catalog"
)

// signer adds the key that signs the ledger's checkpoints, so that whoever holds
// the signed paper can tell whether a checkpoint or a bundle is the agency's.
func (l *Ledger) signer(ctx context.Context, source Source) error {
	if l.Size == 0 {
		return nil
	}
	entry, err := source.Entry(ctx, 0)
	if err != nil {
		return fmt.Errorf("read the first entry of the ledger: %w", err)
	}
	event, err := entry.Decode()
	if err != nil {
		return fmt.Errorf("read the first entry of the ledger: %w", err)
	}
	if opened, ok := event.(catalog.SiteOpened); ok {
		l.VerifierKey, l.Fingerprint = opened.Key, fingerprint(opened.Key)
	}
	return nil
}

// fingerprint is what "ssh-keygen -l" prints of the Ed25519 key in a verifier key,
// which is "name+hash+base64" of one byte for the algorithm and the key; "" when
// it is not one.
func fingerprint(verifierKey string) string {
	const ed25519Key = 1 // of the signed note format
	parts := strings.SplitN(verifierKey, "+", 3)
	if len(parts) != 3 {
		return ""
	}
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != ed25519Key {
		return ""
	}
	var wire []byte // strings of RFC 4251 section 5: the type of key, then the key
	for _, s := range [][]byte{[]byte("ssh-ed25519"), raw[1:]} {
		wire = append(binary.BigEndian.AppendUint32(wire, uint32(len(s))), s...)
	}
	sum := sha256.Sum256(wire)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
