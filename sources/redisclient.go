package sources

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"saoluu/internal/fault"
)

// Connect opens a connection that ends with ctx, and proves that a Redis server is at
// the other end and lets us in. Close it.
func (r *Redis) Connect(ctx context.Context) (*RedisConn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	security, err := r.tls()
	if err != nil {
		return nil, err
	}
	limit, cancel := context.WithTimeoutCause(ctx, connectLimit, fault.New(fault.Absent, r.op("connect"), errors.New("it does not answer"), "see whether host and port are right and the server is not overloaded"))
	defer cancel()
	network, address := "tcp", net.JoinHostPort(r.host(), r.port())
	if r.onSocket() {
		network, address = "unix", r.host()
	}
	var dialer net.Dialer
	raw, err := dialer.DialContext(limit, network, address)
	if err == nil && security != nil {
		secured := tls.Client(raw, security)
		if err = secured.HandshakeContext(limit); err != nil {
			_ = raw.Close() // why it could not be secured says more
		}
		raw = secured
	}
	if err != nil {
		if limit.Err() != nil {
			return nil, context.Cause(limit)
		}
		return nil, r.fault("connect", err)
	}
	conn := newRedisConn(ctx, raw)
	silent := context.AfterFunc(limit, func() { _ = raw.Close() })
	defer silent()
	if err := r.greet(conn); err != nil {
		_ = conn.Close()
		if limit.Err() != nil {
			return nil, context.Cause(limit)
		}
		return nil, r.fault("connect", err)
	}
	return conn, nil
}

// greet says who we are.
func (r *Redis) greet(conn *RedisConn) error {
	var err error
	switch {
	case r.User != "" && r.User != "default":
		_, err = conn.Do("AUTH", r.User, r.Password)
	case r.Password != "":
		_, err = conn.Do("AUTH", r.Password)
	}
	if err != nil {
		return err
	}
	answer, err := conn.Do("PING")
	if err == nil && answer != "PONG" {
		err = errNoRedis
	}
	return err
}

func (r *Redis) tls() (*tls.Config, error) {
	c := &tls.Config{ServerName: r.host(), MinVersion: tls.VersionTLS12}
	switch r.sslMode() {
	case "disable":
		return nil, nil
	case "require":
		c.InsecureSkipVerify = true //nolint:gosec // asked for by this name, as with libpq
		return c, nil
	}
	var err error
	c.RootCAs, err = authorities(r.CA)
	if err != nil {
		return nil, fault.New(fault.Usage, r.op("connect"), err, "correct ca")
	}
	return c, nil
}

// fault says what failed at the server, and what can be done.
func (r *Redis) fault(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	kind, hint := r.kind(err)
	return fault.New(kind, r.op(what), errors.New(blanked(strings.ReplaceAll(err.Error(), "\n", " "), r.Password)), hint)
}

// kind classes by the server's code (src/server.c, createSharedObjects) or by errno.
func (r *Redis) kind(err error) (fault.Kind, string) {
	var refused RedisError
	if errors.As(err, &refused) {
		return redisKind(refused)
	}
	var ne *net.OpError
	var dns *net.DNSError
	var unverified *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &unverified):
		return fault.Denied, "set ca to the authority of the server's certificate, and host to a name in it"
	case errors.As(err, &noTLS):
		return fault.Denied, "let the server speak TLS, or set sslmode"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EACCES):
		return fault.Denied, "let the user that runs saoluu reach the socket"
	case errors.Is(err, errNoRedis):
		return fault.Failed, "correct host and port"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fault.Absent, "see the server's log; it may have been restarted, or want TLS (sslmode), or find us too slow (client-output-buffer-limit)"
	case errors.As(err, &ne), errors.As(err, &dns), errors.Is(err, errRedisLate):
		return fault.Absent, "start the server, or correct host and port"
	}
	return fault.Failed, ""
}

func redisKind(e RedisError) (fault.Kind, string) {
	text := e.Error()
	switch code := e.Code(); {
	case code == "WRONGPASS", strings.Contains(text, "invalid password"), strings.Contains(text, "without any password configured"), strings.Contains(text, "wrong number of arguments for 'auth'"):
		return fault.Denied, "correct user and password"
	case code == "NOAUTH":
		return fault.Denied, "set password (and user)"
	case code == "NOPERM":
		return fault.Denied, redisRights
	case code == "DENIED":
		return fault.Denied, "the server is in protected mode: give it a password, or bind it to this machine"
	case slices.Contains([]string{"LOADING", "MASTERDOWN", "NOMASTERLINK", "BUSY", "TRYAGAIN"}, code), strings.Contains(text, "max number of clients"):
		return fault.Absent, "wait until the server is ready"
	case strings.Contains(text, "unknown command"):
		return fault.Denied, "the server does not know the command, or has it under another name (rename-command): managed services forbid dumps, save those by their own means"
	}
	return fault.Failed, ""
}

// redisRights is the remedy for a right that is missing.
const redisRights = "give the user its rights: ACL SETUSER saoluu ~* &* +@read +select +ping +info +psync +replconf +function|list"

// authorities reads a file of certificates; "" stands for the system's.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %q", file)
	}
	return pool, nil
}
