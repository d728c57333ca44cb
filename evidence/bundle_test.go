package evidence_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"saoluu/evidence"
	"saoluu/internal/command"
	"saoluu/internal/fault"
)

func newBundle(t *testing.T) evidence.Bundle {
	t.Helper()
	s := newSigner(t, "STP-HD")
	lines, reader := grow(t, 9)
	return evidence.Bundle{
		Entry: lines[4], Proof: proven(t, s, reader, 4, 9), Signer: s,
		Artifacts: map[string][]byte{"serial.log": []byte("login:\n"), "boot.png": {0x89, 'P', 'N', 'G', 0}},
	}
}

func export(t *testing.T, b evidence.Bundle) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := evidence.Export(&out, b); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func verify(t *testing.T, data []byte) (evidence.Report, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.zip")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return evidence.VerifyBundle(path)
}

func TestBundle(t *testing.T) {
	b := newBundle(t)
	data := export(t, b)
	if again := export(t, b); !bytes.Equal(data, again) {
		t.Error("the same bundle is other bytes")
	}
	r, err := verify(t, data)
	if err != nil {
		t.Fatal(err)
	}
	if r.Entry.Seq != 4 || r.Checkpoint.Size != 9 || r.VerifierKey != b.Signer.VerifierKey() || len(r.Artifacts) != 2 || !strings.HasPrefix(r.Signer, "saoluu/STP-HD SHA256:") {
		t.Errorf("report %+v", r)
	}
	b.Artifacts = nil
	if _, err := verify(t, export(t, b)); err != nil {
		t.Errorf("without artifacts: %v", err)
	}
}

// What is no file is neither waited for nor read without end.
func TestBundleIsAFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir, "/dev/zero"} {
		if _, err := evidence.VerifyBundle(path); fault.KindOf(err) != fault.Unknown || fault.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", path, err, fault.HintOf(err))
		}
	}
	file, link := filepath.Join(dir, "bundle.zip"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, export(t, newBundle(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.VerifyBundle(link); err != nil {
		t.Errorf("a link to a bundle: %v", err)
	}
}

func TestExportRefuses(t *testing.T) {
	b := newBundle(t)
	for _, name := range []string{"", ".", "..", "a/b", "../a", "a b", "-a", ".a", "a\\b", "ă", strings.Repeat("a", 101)} {
		b.Artifacts = map[string][]byte{name: nil}
		if err := evidence.Export(&bytes.Buffer{}, b); fault.KindOf(err) != fault.Usage {
			t.Errorf("artifact %q: %v", name, err)
		}
	}
	b = newBundle(t)
	b.Signer = newSigner(t, "STP-HD")
	if err := evidence.Export(&bytes.Buffer{}, b); fault.KindOf(err) != fault.Verification {
		t.Errorf("signed by somebody else: %v", err)
	}
}

// tool returns a program or skips; CI forbids skipping.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := command.LookPath(name)
	if err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

// The commands of HOW-TO-VERIFY.txt, as a stranger would copy them, with the
// real programs.
func TestStrangerVerifies(t *testing.T) {
	sh := tool(t, "sh")
	for _, name := range []string{"sha256sum", "ssh-keygen", "unzip"} {
		tool(t, name)
	}
	dir := t.TempDir()
	data := export(t, newBundle(t))
	if err := os.WriteFile(filepath.Join(dir, "b.zip"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(script string) (string, error) {
		out, err := command.Output(t.Context(), command.Cmd{Argv: []string{sh, "-ec", "exec 2>&1\n" + script}, Dir: dir, Env: []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}}, 1<<20)
		return string(out), err
	}
	if out, err := run("unzip b.zip"); err != nil {
		t.Fatalf("unzip: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "HOW-TO-VERIFY.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	_, english, _ := strings.Cut(string(text), "HOW TO VERIFY")
	for _, part := range []string{string(text), english} { // Vietnamese and English, then English alone
		commands = commands[:0]
		for line := range strings.Lines(part) {
			if c, ok := strings.CutPrefix(line, "     "); ok && !strings.HasPrefix(c, "saoluu") {
				commands = append(commands, c)
			}
		}
		out, err := run(strings.Join(commands, ""))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"entry.json: OK", "artifacts/boot.png: OK", "HOW-TO-VERIFY.txt: OK", `Good "saoluu-evidence" signature for saoluu/STP-HD`, "(ED25519)"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing in:\n%s", want, out)
			}
		}
	}
	r, err := verify(t, data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := run("ssh-keygen -lf signer.pub")
	if _, print, _ := strings.Cut(r.Signer, " "); err != nil || !strings.Contains(out, print) {
		t.Errorf("fingerprint %s is not in %s, %v", print, out, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "artifacts", "serial.log"), []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run("sha256sum -c MANIFEST.sha256"); err == nil {
		t.Errorf("a changed artifact passed:\n%s", out)
	}
	if out, err := run("sed -i s/serial/cereal/ MANIFEST.sha256\nssh-keygen -Y verify -f allowed_signers -I 'saoluu/STP-HD' -n saoluu-evidence -s MANIFEST.sha256.sig < MANIFEST.sha256"); err == nil {
		t.Errorf("a changed manifest passed:\n%s", out)
	}
}

// member is a file of an archive under attack.
type member struct {
	name string
	data []byte
}

func members(t *testing.T, data []byte) []member {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var list []member
	for _, f := range r.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(rc); err != nil {
			t.Fatal(err)
		}
		list = append(list, member{f.Name, b.Bytes()})
	}
	return list
}

// packed writes an archive with the standard library, so not in our form.
func packed(t *testing.T, method uint16, list []member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, m := range list {
		f, err := w.CreateHeader(&zip.FileHeader{Name: m.name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestHostileBundles(t *testing.T) {
	b := newBundle(t)
	whole := export(t, b)
	list := members(t, whole)
	with := func(change func([]member) []member) []byte {
		return packed(t, zip.Store, change(append([]member(nil), list...)))
	}
	edit := func(name string, f func([]byte) []byte) []byte {
		return with(func(l []member) []member {
			for i := range l {
				if l[i].name == name {
					l[i].data = f(bytes.Clone(l[i].data))
				}
			}
			return l
		})
	}
	add := func(name string, data []byte) []byte {
		return with(func(l []member) []member { return append(l, member{name, data}) })
	}
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	local := bytes.Clone(whole) // the name in the local header, which some programs unpack by
	copy(local[30:], "/tmp/evil!")
	symlink := bytes.Clone(whole)
	i := bytes.LastIndex(symlink, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(symlink[i+38:], 0o120777<<16)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":              {nil, "not a zip archive"},
		"garbage":            {bytes.Repeat([]byte("rubbish "), 100), "not a zip archive"},
		"truncated":          {whole[:len(whole)-100], "not a zip archive"},
		"path traversal":     {add("../../etc/passwd", nil), "no bundle has"},
		"absolute path":      {add("/etc/passwd", nil), "no bundle has"},
		"backslash":          {add(`artifacts\x`, nil), "no bundle has"},
		"folder":             {add("artifacts/", nil), "no bundle has"},
		"extra file":         {add("README", nil), "no bundle has"},
		"artifact unlisted":  {with(func(l []member) []member { return append([]member{l[0], {"artifacts/a", nil}}, l[1:]...) }), "not what the signed manifest says"},
		"artifact removed":   {with(func(l []member) []member { return append(l[:1], l[2:]...) }), "other files"},
		"name twice":         {add("entry.json", list[0].data), "twice"},
		"wrong order":        {with(func(l []member) []member { l[0], l[3] = l[3], l[0]; return l }), "not in its place"},
		"artifacts unsorted": {with(func(l []member) []member { l[1], l[2] = l[2], l[1]; return l }), "not in order"},
		"proof missing":      {with(func(l []member) []member { return append(l[:3], l[4:]...) }), `"proof.tlog-proof" is missing`},
		"bomb":               {packed(t, zip.Deflate, append([]member{{"artifacts/bomb", make([]byte, 1<<24)}}, list...)), "compressed"},
		"other packing":      {packed(t, zip.Store, list), "one form"},
		"comment":            {append(whole[:len(whole)-2:len(whole)-2], 1, 0, 'x'), "one form"},
		"prefix":             {append([]byte("#!/bin/sh\n"), whole...), "one form"},
		"local name":         {local, "one form"},
		"symlink":            {symlink, "regular file"},
		"entry changed":      {edit("entry.json", flip), "not what the signed manifest says"},
		"artifact changed":   {edit("artifacts/boot.png", flip), "not what the signed manifest says"},
		"proof changed":      {edit("proof.tlog-proof", flip), "not what the signed manifest says"},
		"how-to changed":     {edit("HOW-TO-VERIFY.txt", flip), "not what the signed manifest says"},
		"manifest changed":   {edit("MANIFEST.sha256", flip), "does not belong to this text"},
		"signature changed":  {edit("MANIFEST.sha256.sig", flip), "MANIFEST.sha256.sig"},
		"signature garbage":  {edit("MANIFEST.sha256.sig", func([]byte) []byte { return []byte("x") }), "not an SSH signature"},
		"signature short":    {edit("MANIFEST.sha256.sig", func([]byte) []byte { return []byte("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n") }), "not an SSH signature"},
		"key garbage":        {edit("signer.pub", func([]byte) []byte { return []byte("x") }), "public key"},
		"key short":          {edit("signer.pub", func([]byte) []byte { return []byte("ssh-ed25519 AAAA x\n") }), "malformed"},
		"key of RSA":         {edit("signer.pub", func(d []byte) []byte { return bytes.Replace(d, []byte("ed25519"), []byte("rsa"), 1) }), "malformed"},
		"key of another": {edit("signer.pub", func([]byte) []byte {
			for _, m := range members(t, export(t, newBundle(t))) {
				if m.name == "signer.pub" {
					return m.data
				}
			}
			return nil
		}), "not one for"},
		"origin changed": {edit("signer.pub", func(d []byte) []byte { return bytes.Replace(d, []byte("STP"), []byte("SXD"), 1) }), "not what the signed manifest says"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verify(t, c.data)
			if fault.KindOf(err) != fault.Verification || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v of kind %q, want %q", err, fault.KindOf(err), c.want)
			}
		})
	}
}

// No single changed byte may pass.
func TestEveryByteCounts(t *testing.T) {
	whole := export(t, newBundle(t))
	path := filepath.Join(t.TempDir(), "bundle.zip")
	for i := range whole {
		data := bytes.Clone(whole)
		data[i] ^= 0x20
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := evidence.VerifyBundle(path); fault.KindOf(err) != fault.Verification {
			t.Fatalf("byte %d of %d: %v", i, len(whole), err)
		}
	}
}

func TestVerifyBundleCannotLook(t *testing.T) {
	if _, err := evidence.VerifyBundle(filepath.Join(t.TempDir(), "none.zip")); fault.KindOf(err) != fault.Unknown {
		t.Errorf("missing: %v", err)
	}
	if _, err := evidence.VerifyBundle(t.TempDir()); fault.KindOf(err) != fault.Unknown {
		t.Errorf("a folder: %v", err)
	}
	huge := filepath.Join(t.TempDir(), "huge.zip")
	f, err := os.Create(huge)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 29); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := evidence.VerifyBundle(huge); fault.KindOf(err) != fault.Verification {
		t.Errorf("huge: %v", err)
	}
}

// A time before 1980 has no form in a zip archive.
func TestBundleOfOldEntry(t *testing.T) {
	s := newSigner(t, "MAU")
	line := evidence.FormatEntry(0, time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), "beat", []byte(`{}`))
	b := evidence.Bundle{Entry: line, Signer: s, Proof: proven(t, s, onlyLeaf(line), 0, 1)}
	if _, err := verify(t, export(t, b)); err != nil {
		t.Error(err)
	}
}
