package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"saoluu/internal/fault"
)

// An account follows the entries of one run, while they are written and when they
// are read back, and compares them with what is known of the run: the digests and
// sizes of its parts and the digests among its facts. Names are relative to the
// run's folder.
type account struct {
	run   string
	parts map[string]*tally
	want  map[string]string // digest by name of file; what was seen is removed
	sums  hash.Hash         // of the lines of SHA256SUMS so far
	lines io.Writer         // takes those lines; nil: nobody wants them
	bad   []string          // what differs; the first ten, with the names of user data
	more  int
}

type tally struct {
	PartInfo
	items, bytes int64
}

// maxBad bounds what is listed of differences.
const maxBad = 10

func newAccount(rec record, facts []byte, lines io.Writer) (*account, error) {
	a := &account{run: rec.Run, parts: map[string]*tally{}, want: map[string]string{}, sums: sha256.New(), lines: lines}
	for _, p := range rec.Parts {
		if p.Name == "" || p.Name != path.Base(p.Name) || a.parts[p.Name] != nil {
			return nil, fmt.Errorf("run %s: part %q has no usable name", rec.Run, p.Name)
		}
		a.parts[p.Name] = &tally{PartInfo: p}
		if p.File != "" && p.SHA256 != "" {
			a.want[path.Join(p.Name, p.File)] = p.SHA256
		}
	}
	if len(facts) == 0 {
		return a, nil
	}
	var list []struct{ Part, Kind, Of, Value string }
	if err := json.Unmarshal(facts, &list); err != nil {
		return nil, fmt.Errorf("facts of run %s: %w", rec.Run, err)
	}
	for _, f := range list {
		part := a.parts[f.Part]
		if f.Kind != factSHA256 || part == nil {
			continue
		}
		if of, ok := factPath(f.Of); ok && part.File == "" {
			a.want[path.Join(f.Part, of)] = f.Value
		}
	}
	return a, nil
}

// factSHA256 is the kind of fact that is the digest of a file.
const factSHA256 = "sha256"

// factPath returns the absolute path in a fact, which is quoted when it is not
// valid UTF-8.
func factPath(of string) (string, bool) {
	if strings.HasPrefix(of, `"`) {
		var err error
		if of, err = strconv.Unquote(of); err != nil {
			return "", false
		}
	}
	return of, filepath.IsAbs(of)
}

// file takes the content of a regular file in r and returns its length.
func (a *account) file(name string, r io.Reader, w io.Writer) (int64, error) {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), r)
	if err != nil {
		return n, err
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if want, ok := a.want[name]; ok && want != digest {
		a.differs(fmt.Sprintf("%q has another digest than it was saved with", name))
	}
	delete(a.want, name)
	a.count(name, n)
	line := sumsLine(digest, name)
	a.sums.Write([]byte(line)) // a hash never fails (hash.Hash)
	if a.lines != nil {
		_, err = io.WriteString(a.lines, line)
	}
	return n, err
}

// count counts an entry of a part.
func (a *account) count(name string, bytes int64) {
	part, _, below := strings.Cut(name, "/")
	if t := a.parts[part]; t != nil && below {
		t.items++
		t.bytes += bytes
	}
}

func (a *account) differs(what string) {
	if len(a.bad) < maxBad {
		a.bad = append(a.bad, what)
	} else {
		a.more++
	}
}

// closed returns what differs once all entries were seen.
func (a *account) closed() error {
	for name := range a.want {
		a.differs(fmt.Sprintf("%q is not there", name))
	}
	for name, t := range a.parts {
		if t.items != t.Items || t.bytes != t.Bytes {
			a.differs(fmt.Sprintf("part %q has %d entries with %d bytes, not %d with %d", name, t.items, t.bytes, t.Items, t.Bytes))
		}
	}
	if len(a.bad) == 0 {
		return nil
	}
	slices.Sort(a.bad)
	text := strings.Join(a.bad, "; ")
	if a.more > 0 {
		text += fmt.Sprintf("; and %d more", a.more)
	}
	return fault.New(fault.Damaged, fmt.Sprintf("content of run %s", a.run), errors.New(text),
		"take another copy of the run with --target, or another run; \"saoluu test\" tells which are good")
}

// sumsLine is a line as sha256sum prints it: names with a line feed, carriage
// return or backslash are escaped and the line begins with a backslash.
func sumsLine(digest, name string) string {
	escaped := strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r").Replace(name)
	if escaped != name {
		digest = "\\" + digest
	}
	return digest + "  " + escaped + "\n"
}
