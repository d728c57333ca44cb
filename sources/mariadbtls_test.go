package sources_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// certificate writes a key and a certificate for localhost that signs itself, and
// returns their files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tls-") // not t.TempDir: the server's user must read it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// Over the network the server's certificate is checked by the facts' session and by
// the dump alike.
func TestMariaDBOverTLS(t *testing.T) {
	cert, key := certificate(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	s := sourcetest.StartMariaDB(t, "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port), "--ssl-cert="+cert, "--ssl-key="+key, "--ssl-ca="+cert)
	s.Exec(t, "", "CREATE DATABASE d", "CREATE TABLE d.t AS SELECT 1 AS id", "CREATE USER saoluu@'%' IDENTIFIED BY 'x' REQUIRE SSL",
		"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD ON *.* TO saoluu@'%'")
	other, _ := certificate(t)
	tests := []struct {
		name, host, mode, ca string
		want                 fault.Kind
	}{
		{"verified", "localhost", "verify-full", cert, ""},
		{"believed", "127.0.0.1", "require", "", ""},
		{"another authority", "localhost", "verify-full", other, fault.Denied},
		{"another name", "127.0.0.1", "verify-full", cert, fault.Denied},
		{"in the clear", "localhost", "disable", "", fault.Denied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &sources.MariaDB{Host: tt.host, Port: port, User: "saoluu", Password: "x", Database: "d", SSLMode: tt.mode, CA: tt.ca, Now: time.Now}
			p, err := m.Prepare(t.Context(), t.TempDir())
			if tt.want != "" {
				if fault.KindOf(err) != tt.want {
					t.Fatalf("error %v (%s), want %s", err, fault.KindOf(err), tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range p.Parts {
				if _, err := sourcetest.Read(t.Context(), part, io.Discard); err != nil {
					t.Errorf("part %q: %v", part.Name, err)
				}
			}
			if err := p.Release(); err != nil {
				t.Error(err)
			}
		})
	}
}
