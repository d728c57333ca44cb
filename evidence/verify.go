package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/mod/sumdb/note"

	"saoluu/internal/fault"
)

// A Report says what a verified bundle holds. It is worth as much as the key:
// whoever reads it has to know Signer from elsewhere.
type Report struct {
	Entry       Entry
	Checkpoint  Checkpoint // the ledger that holds the entry
	Signer      string     // origin and fingerprint, as "ssh-keygen -l" prints it
	VerifierKey string     // of the ledger, as SiteOpened records it
	Artifacts   []string
}

// VerifyBundle verifies a bundle with nothing but its file: the form of the
// archive, every digest, the signature of the manifest, and that the entry is in
// a ledger signed by the same key. What does not hold is fault.Verification; a
// file that cannot be read is fault.Unknown.
func VerifyBundle(path string) (Report, error) {
	op := fmt.Sprintf("verify bundle %q", path)
	data, err := readBundle(path)
	var tooLong *tooLongError
	var notFile *notFileError
	switch {
	case errors.As(err, &notFile):
		return Report{}, fault.New(fault.Unknown, op, err, "name the file of the bundle; save it first if it comes from a pipe")
	case errors.As(err, &tooLong):
		return Report{}, fault.New(fault.Verification, op, err, "")
	case errors.Is(err, fs.ErrNotExist):
		return Report{}, fault.New(fault.Unknown, op, errors.New("the file is missing"), "check the path")
	case err != nil:
		return Report{}, fault.New(fault.Unknown, op, err, "")
	}
	r, err := verifyBundle(data)
	if err != nil {
		return Report{}, fault.New(fault.Verification, op, err, "ask the agency for the bundle again, and keep this one")
	}
	return r, nil
}

type notFileError struct{}

func (*notFileError) Error() string { return "it is not a regular file" }

type tooLongError struct{}

func (*tooLongError) Error() string {
	return fmt.Sprintf("it is larger than %d bytes, which no bundle is", maxBundleBytes)
}

func readBundle(path string) ([]byte, error) {
	// Opening a pipe waits for somebody to write into it, unless told not to.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &notFileError{}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBundleBytes+1))
	if err == nil && len(data) > maxBundleBytes {
		err = &tooLongError{}
	}
	return data, err
}

// verifyBundle works on the bytes of the archive.
func verifyBundle(data []byte) (Report, error) {
	files, err := unpackZip(data)
	if err != nil {
		return Report{}, err
	}
	content, artifacts, err := sortFiles(files)
	if err != nil {
		return Report{}, err
	}
	key, origin, err := parsePublicLine(content[publicName])
	if err != nil {
		return Report{}, err
	}
	if err := verifySSH(key, content[manifestName], content[signatureName]); err != nil {
		return Report{}, fmt.Errorf("%s: %w", signatureName, err)
	}
	if err := checkManifest(files, content[manifestName]); err != nil {
		return Report{}, err
	}
	verifierKey, err := note.NewEd25519VerifierKey(origin, key)
	if err != nil {
		return Report{}, fmt.Errorf("the origin in %s: %w", publicName, err)
	}
	e, c, err := VerifyEntry(content[entryName], content[proofName], verifierKey)
	if err != nil {
		return Report{}, err
	}
	if !bytes.Equal(packZip(files, e.At), data) {
		return Report{}, errors.New("the archive holds more than its files: it is not in the one form a bundle has")
	}
	return Report{Entry: e, Checkpoint: c, Signer: origin + " " + fingerprint(key), VerifierKey: verifierKey, Artifacts: artifacts}, nil
}

// sortFiles returns the files by name and the names of the artifacts, once
// exactly those of a bundle are there in their order.
func sortFiles(files []file) (map[string][]byte, []string, error) {
	content := map[string][]byte{}
	var artifacts []string
	var order []string
	for _, f := range files {
		content[f.name] = f.data
		if len(f.name) > len(artifactsDir) && f.name[:len(artifactsDir)] == artifactsDir {
			artifacts = append(artifacts, f.name[len(artifactsDir):])
		}
		order = append(order, f.name)
	}
	want := []string{entryName}
	for i, a := range artifacts {
		if i > 0 && artifacts[i-1] >= a {
			return nil, nil, errors.New("the artifacts are not in order")
		}
		want = append(want, artifactsDir+a)
	}
	want = append(want, proofName, manifestName, signatureName, publicName, howToName)
	for i, name := range want {
		if _, ok := content[name]; !ok {
			return nil, nil, fmt.Errorf("%q is missing in it", name)
		}
		if i >= len(order) || order[i] != name {
			return nil, nil, fmt.Errorf("%q is not in its place", name)
		}
	}
	return content, artifacts, nil
}

// checkManifest finds the file that differs, for the error to name it.
func checkManifest(files []file, manifest []byte) error {
	var covered []file
	for _, f := range files {
		if f.name != manifestName && f.name != signatureName {
			covered = append(covered, f)
		}
	}
	want := manifestOf(covered)
	if bytes.Equal(want, manifest) {
		return nil
	}
	for _, f := range covered {
		if !bytes.Contains(manifest, manifestOf([]file{f})) {
			return fmt.Errorf("%q is not what the signed manifest says", f.name)
		}
	}
	return errors.New("the signed manifest lists other files than the bundle holds")
}
