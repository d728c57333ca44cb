package targets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"saoluu/internal/fault"
	"saoluu/restic"
)

// A Lender is a Target whose repository restic can read through us, at an address
// that needs no keys and no options: of two repositories that need different ones
// restic could open but one.
type Lender interface {
	// Lend serves the repository at a socket in dir, a private folder, until
	// takeBack is called, which returns what went wrong meanwhile on the way to the
	// storage. Nothing can be written through it but restic's locks.
	Lend(ctx context.Context, dir string) (lent restic.Repo, takeBack func() error, err error)
}

var (
	_ Lender = (*S3)(nil)
	_ Lender = (*SFTP)(nil)
)

// A shelf is the storage of a repository that is lent. A file that is not there is
// fs.ErrNotExist; other errors are the kind's own.
type shelf interface {
	storage
	// size returns the size of a file in bytes.
	size(ctx context.Context, name string) (int64, error)
	// section reads length bytes of a file from offset, or all from there on when
	// length is 0, and says how many these are.
	section(ctx context.Context, name string, offset, length int64) (content io.ReadCloser, n int64, err error)
	// list returns the files below a folder.
	list(ctx context.Context, dir string) ([]listed, error)
	// remove takes a file away. One that is not there is no error.
	remove(ctx context.Context, name string) error
}

// listed is a file in the form of restic's REST protocol, version 2.
type listed struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// lend serves a shelf as restic's REST protocol describes it (restic documentation,
// "REST Backend"). The socket is named through the open folder, because the name of
// a socket must be short, and the folder's may be long.
func lend(ctx context.Context, repo restic.Repo, from shelf, dir string) (lent restic.Repo, takeBack func() error, err error) {
	op := fmt.Sprintf("lend repository %q", repo.Name)
	// Restic would ask again and again, and could not say what is wrong.
	if _, err := from.size(ctx, "config"); err != nil {
		return repo, nil, err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return repo, nil, fault.New(fault.Failed, op, err, "check paths.scratch")
	}
	socket := fmt.Sprintf("/proc/%d/fd/%d/s", os.Getpid(), folder.Fd())
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return repo, nil, errors.Join(fault.New(fault.Failed, op, err, "check paths.scratch"), folder.Close())
	}
	l := &lending{from: from}
	server := &http.Server{Handler: l, ReadHeaderTimeout: dialTimeout}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = server.Serve(listener) // ends with Close
	}()
	repo.URL, repo.Env, repo.Options = "rest:http+unix://"+socket+":/", nil, nil
	return repo, func() error {
		closed := server.Close()
		<-over
		return errors.Join(l.trouble(), closed, folder.Close())
	}, nil
}

// lending answers restic's requests.
type lending struct {
	from shelf

	mu    sync.Mutex
	first error // that was not the asker's own
}

var (
	lentFolder = regexp.MustCompile(`^/(data|keys|locks|snapshots|index)/$`)
	lentFile   = regexp.MustCompile(`^/(data|keys|locks|snapshots|index)/([0-9a-f]{64})$`)
	lentRange  = regexp.MustCompile(`^bytes=([0-9]+)-([0-9]*)$`)
)

func (l *lending) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m := lentFolder.FindStringSubmatch(r.URL.Path); m != nil && r.Method == http.MethodGet {
		l.answer(w, l.list(w, r, m[1]))
		return
	}
	name, lock := strings.TrimPrefix(r.URL.Path, "/"), false
	if m := lentFile.FindStringSubmatch(r.URL.Path); m != nil {
		lock = m[1] == "locks"
		if m[1] == "data" {
			name = "data/" + m[2][:2] + "/" + m[2] // restic's layout of a repository
		}
	} else if name != "config" {
		http.NotFound(w, r)
		return
	}
	switch {
	case r.Method == http.MethodHead:
		n, err := l.from.size(r.Context(), name)
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		l.answer(w, err)
	case r.Method == http.MethodGet:
		l.answer(w, l.get(w, r, name))
	case r.Method == http.MethodPost && lock:
		content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSmall))
		if err == nil {
			err = l.from.create(r.Context(), name, content)
		}
		l.answer(w, err)
	case r.Method == http.MethodDelete && lock:
		l.answer(w, l.from.remove(r.Context(), name))
	default:
		http.Error(w, "it can only be read", http.StatusForbidden)
	}
}

// answer ends a request that went wrong before anything of its answer was sent.
func (l *lending) answer(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		w.Header().Del("Content-Length")
		w.WriteHeader(http.StatusNotFound)
	default:
		if !errors.Is(err, context.Canceled) {
			l.note(err)
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (l *lending) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = err
	}
}

func (l *lending) trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *lending) list(w http.ResponseWriter, r *http.Request, dir string) error {
	files, err := l.from.list(r.Context(), dir)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/vnd.x.restic.rest.v2")
	if files == nil {
		files = []listed{}
	}
	return json.NewEncoder(w).Encode(files)
}

// get sends a file or a range of it. A content that breaks off is told by its
// length, and noted.
func (l *lending) get(w http.ResponseWriter, r *http.Request, name string) error {
	offset, length, status := int64(0), int64(0), http.StatusOK
	if asked := r.Header.Get("Range"); asked != "" {
		m := lentRange.FindStringSubmatch(asked)
		if m == nil {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return nil
		}
		offset, _ = strconv.ParseInt(m[1], 10, 64)
		if last, err := strconv.ParseInt(m[2], 10, 64); err == nil {
			length = last - offset + 1
		}
		status = http.StatusPartialContent
	}
	content, n, err := l.from.section(r.Context(), name, offset, length)
	if err != nil {
		return err
	}
	defer content.Close()
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	w.WriteHeader(status)
	if _, err := io.Copy(w, content); err != nil && r.Context().Err() == nil {
		l.note(err)
	}
	return nil
}
