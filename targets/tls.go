package targets

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"saoluu/internal/fault"
)

// transport makes the HTTP transport of a target: the system's authorities, or
// only those in the file ca. Time limits are short, because it carries little but
// small files; restic carries the data, except those of a repository that is lent.
func transport(target, ca string) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = dialTimeout, 2*dialTimeout
	t.IdleConnTimeout, t.MaxIdleConnsPerHost = 10*time.Second, parallel
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		return t, nil
	}
	op := fmt.Sprintf("target %q", target)
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, fault.New(fault.Usage, op, fmt.Errorf("read the authority's certificate: %w", err), "correct ca in the configuration")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fault.New(fault.Usage, op, fmt.Errorf("%s holds no certificate", ca), "give ca a file in PEM format")
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// isCertificate reports whether err says that the other side is not who it should be.
func isCertificate(err error) bool {
	var verification *tls.CertificateVerificationError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verification) || errors.As(err, &name) || errors.As(err, &authority) || errors.As(err, &invalid)
}
