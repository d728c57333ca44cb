package targettest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// T is what starting a server needs of a test: *testing.T has it, and scripts can
// pretend to it.
type T interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	TempDir() string
	Cleanup(func())
}

// A Server is a real storage server on the loop-back interface, for one test.
type Server struct {
	Address string // host:port
	argv    []string
	env     []string
	dir     string
	health  string // address that answers 200 when the server is ready; empty: it is when it accepts connections
	cmd     *exec.Cmd
	log     bytes.Buffer
}

// Start starts the server, again after a Stop, and waits until it is ready.
func (s *Server) Start(t T) {
	t.Helper()
	s.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	s.cmd.Env, s.cmd.Dir = append(os.Environ(), s.env...), s.dir
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if s.ready() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.Stop(t)
	t.Fatalf("%s does not answer:\n%s", s.argv[0], s.log.String())
}

// Setenv changes the environment of the server's next start.
func (s *Server) Setenv(key, value string) { s.env = append(s.env, key+"="+value) }

func (s *Server) ready() bool {
	conn, err := net.DialTimeout("tcp", s.Address, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	if s.health == "" {
		return true
	}
	// Only whether it is up: whoever uses it looks at its certificate.
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Get(s.health)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// Stop kills the server.
func (s *Server) Stop(t T) {
	t.Helper()
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func start(t T, s *Server) *Server {
	t.Helper()
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Tool returns a program the tests need: from bin/ of this repository, then from
// PATH. One that is missing skips the test, except where nothing may be skipped.
func Tool(t T, name string) string {
	t.Helper()
	for dir, up := ".", 0; up < 4; dir, up = filepath.Join(dir, ".."), up+1 {
		path, err := filepath.Abs(filepath.Join(dir, "bin", name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	for _, dir := range []string{"/usr/sbin", "/usr/bin"} {
		if path := filepath.Join(dir, name); exec.Command("test", "-x", path).Run() == nil {
			return path
		}
	}
	if os.Getenv("SAOLUU_MUST_RUN") != "" {
		t.Fatalf("%s is missing; run \"make tools deps\"", name)
	}
	t.Skipf("%s is missing; run \"make tools deps\"", name)
	return ""
}

// FreePort returns a port of the loop-back interface that nobody listens on, below
// those the kernel gives to outgoing connections: a server that is stopped and
// started again must find its port free.
func FreePort(t T) int {
	t.Helper()
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(12000))
		if err != nil {
			t.Fatal(err)
		}
		port := 20000 + int(n.Int64())
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// MinIO is an S3 service with object lock, its user and password.
type MinIO struct {
	*Server
	AccessKey, SecretKey string
	CA                   string // its certificate
}

// StartMinIO starts MinIO over TLS with a certificate of its own for 127.0.0.1.
func StartMinIO(t T) MinIO {
	t.Helper()
	return StartMinIOFor(t, "saoluu-tests", "a-secret-only-for-tests")
}

// StartMinIOFor is StartMinIO with another user and password.
func StartMinIOFor(t T, accessKey, secretKey string) MinIO {
	t.Helper()
	dir := t.TempDir()
	certs := filepath.Join(dir, "certs")
	ca := Certificate(t, certs, "public.crt", "private.key", "127.0.0.1")
	m := MinIO{AccessKey: accessKey, SecretKey: secretKey, CA: ca}
	address := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	m.Server = start(t, &Server{
		Address: address, dir: dir, health: "https://" + address + "/minio/health/cluster",
		argv: []string{Tool(t, "minio"), "server", "--quiet", "--address", address, "--certs-dir", certs, filepath.Join(dir, "data")},
		env: []string{
			"MINIO_ROOT_USER=" + m.AccessKey, "MINIO_ROOT_PASSWORD=" + m.SecretKey, "MINIO_BROWSER=off",
			"MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off", "HOME=" + dir,
		},
	})
	return m
}

// REST is a rest-server with private repositories: user "stp", password Password.
type REST struct {
	*Server
	User, Password string
	CA             string
	Dir            string
}

// StartREST starts a rest-server over TLS; appendOnly forbids deletion.
func StartREST(t T, appendOnly bool) REST {
	t.Helper()
	dir := t.TempDir()
	ca := Certificate(t, dir, "public.crt", "private.key", "127.0.0.1")
	// Password in the form rest-server takes besides bcrypt: base64 of its SHA-1.
	users := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(users, []byte("stp:{SHA}4uearyRUddYprcndMV7+g/C1rNE=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := REST{User: "stp", Password: "rest-for-tests", CA: ca, Dir: filepath.Join(dir, "data")}
	address := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	argv := []string{
		Tool(t, "rest-server"), "--listen", address, "--path", r.Dir, "--private-repos", "--htpasswd-file", users,
		"--tls", "--tls-cert", ca, "--tls-key", filepath.Join(dir, "private.key"),
	}
	if appendOnly {
		argv = append(argv, "--append-only")
	}
	r.Server = start(t, &Server{Address: address, argv: argv, dir: dir})
	return r
}

// StartToxiproxy starts a proxy that spoils connections; it is told how over HTTP at
// its address.
func StartToxiproxy(t T) *Server {
	t.Helper()
	port := FreePort(t)
	return start(t, &Server{
		Address: fmt.Sprintf("127.0.0.1:%d", port),
		argv:    []string{Tool(t, "toxiproxy-server"), "-host", "127.0.0.1", "-port", fmt.Sprint(port)},
	})
}

// SSH is an SSH server that offers SFTP alone.
type SSH struct {
	*Server
	Port       int
	User       string
	Key        string // private key that is let in
	KnownHosts string // knows the server
	Dir        string // a folder the user may write
}

// StartSSH starts an OpenSSH server with keys of its own.
func StartSSH(t T) SSH {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatalf("an SSH server for tests needs root")
		}
		t.Skipf("an SSH server for tests needs root")
	}
	sshd, keygen := Tool(t, "sshd"), Tool(t, "ssh-keygen")
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll("/run/sshd", 0o755)) // where sshd separates its privileges
	for _, name := range []string{"host", "user"} {
		if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s := SSH{Port: FreePort(t), User: "root", Key: filepath.Join(dir, "user"), KnownHosts: filepath.Join(dir, "known_hosts"), Dir: filepath.Join(dir, "data")}
	must(os.Mkdir(s.Dir, 0o700))
	public, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	must(err)
	key := strings.Join(strings.Fields(string(public))[:2], " ")
	must(os.WriteFile(s.KnownHosts, fmt.Appendf(nil, "[127.0.0.1]:%d %s\n", s.Port, key), 0o600))
	config := filepath.Join(dir, "sshd_config")
	must(os.WriteFile(config, fmt.Appendf(nil, `ListenAddress 127.0.0.1
Port %d
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
ForceCommand internal-sftp
`, s.Port, filepath.Join(dir, "host"), filepath.Join(dir, "user.pub")), 0o600))
	s.Server = start(t, &Server{Address: fmt.Sprintf("127.0.0.1:%d", s.Port), argv: []string{sshd, "-D", "-e", "-f", config}, dir: dir})
	return s
}

// Certificate makes a self-signed certificate for name and its key in dir, and
// returns the certificate's file.
func Certificate(t T, dir, certFile, keyFile, name string) string {
	t.Helper()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fail(os.MkdirAll(dir, 0o700))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		about.IPAddresses = []net.IP{ip}
	} else {
		about.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	fail(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	fail(err)
	cert := filepath.Join(dir, certFile)
	fail(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	fail(os.WriteFile(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert
}
