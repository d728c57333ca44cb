package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"saoluu/targets/targettest"
)

// frontCommand puts a server of our own in front of the script's storage service,
// as a gateway or a load balancer would stand there, and makes it misbehave:
//
//	front start s3|rest   $S3 or $REST leads through the front from now on
//	front busy N          the next N requests are answered 503, as a busy service does
//	front busy-after N    all are, after N more
//	front skewed          requests arrive as if our clock were an hour behind
//	front named NAME      it shows a certificate for another name, of an authority we believe
//	front heal            everything is handed on again
func frontCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: front start|busy|skewed|named|heal")
	}
	if args[0] == "start" {
		startFront(ts, args[1])
		return
	}
	f := ts.Value(frontKey{}).(*front)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch args[0] {
	case "busy":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		f.calm, f.busy = 0, n
	case "busy-after":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		f.calm, f.busy = n, math.MaxInt
	case "skewed":
		f.skewed = true
	case "named":
		f.show(ts, args[1])
	case "heal":
		f.calm, f.busy, f.skewed = 0, 0, false
		f.show(ts, "127.0.0.1")
	default:
		ts.Fatalf("unknown trouble %q", args[0])
	}
}

type frontKey struct{}

// A front is a reverse proxy that answers by itself when it is told to.
type front struct {
	proxy *httputil.ReverseProxy
	ca    string // file with the authorities of its certificates

	mu          sync.Mutex
	calm        int // requests that are still handed on
	busy        int // and then so many that are not
	skewed      bool
	certificate tls.Certificate
}

func startFront(ts *testscript.TestScript, kind string) {
	real, err := url.Parse(ts.Getenv(strings.ToUpper(kind)))
	ts.Check(err)
	f := ts.Value(frontKey{}).(*front)
	f.ca = ts.MkAbs("far/front.crt")
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = real.Scheme, real.Host // and the host of the request, which is signed
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // the script is about the front
	}
	f.show(ts, "127.0.0.1")
	listener, err := tls.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", targettest.FreePort(scriptT{ts})), &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			shown := f.certificate
			return &shown, nil
		},
	})
	ts.Check(err)
	server := &http.Server{Handler: f, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }()
	ts.Defer(func() { _ = server.Close() })
	address := "https://" + listener.Addr().(*net.TCPAddr).String()
	replace(ts, strings.NewReplacer("https://"+real.Host, address, ts.Getenv(strings.ToUpper(kind)+"CA"), f.ca))
}

// show makes a certificate for a name and believes its authority.
func (f *front) show(ts *testscript.TestScript, name string) {
	dir := ts.MkAbs(filepath.Join("far", "front-"+name))
	made := targettest.Certificate(scriptT{ts}, dir, "public.crt", "private.key", name)
	certificate, err := tls.LoadX509KeyPair(made, filepath.Join(dir, "private.key"))
	ts.Check(err)
	authority, err := os.ReadFile(made)
	ts.Check(err)
	file, err := os.OpenFile(f.ca, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	defer file.Close()
	_, err = file.Write(authority)
	ts.Check(err)
	f.certificate = certificate
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	busy, skewed := f.calm == 0 && f.busy > 0, f.skewed
	switch {
	case f.calm > 0:
		f.calm--
	case busy:
		f.busy--
	}
	f.mu.Unlock()
	if busy {
		// Amazon S3 API reference, "Error responses": SlowDown.
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
		return
	}
	if signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date")); err == nil && skewed {
		r.Header.Set("X-Amz-Date", signed.Add(-time.Hour).Format("20060102T150405Z"))
	}
	f.proxy.ServeHTTP(w, r)
}
