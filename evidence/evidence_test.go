package evidence_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"saoluu/evidence"
	"saoluu/internal/fault"
)

var at = time.Date(2026, 11, 22, 18, 0, 3, 0, time.UTC)

func TestCanonicalJSON(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"members are sorted by bytes", `{ "b" : 1, "a" :2, "Z":3,"é":4, "":5 }`, `{"":5,"Z":3,"a":2,"b":1,"é":4}`},
		{"nested", `[{"b":{"d":1,"c":[]},"a":{}}]`, `[{"a":{},"b":{"c":[],"d":1}}]`},
		{"no needless escapes", `"\u003c\/\u2028\u00e9\u0041"`, "\"</\u2028éA\""},
		{"needed escapes", `"\u0022\u005c\u0008\u0009\u000a\u000c\u000d\u001F\u007f"`, `"\"\\\b\t\n\f\r\u001f` + "\x7f\""},
		{"surrogate pair", `"\ud83d\ude00"`, `"😀"`},
		{"numbers", `[0,-0,-0.0,1.0,10,1e2,1.50,0.000001,0.0000001,1e21,-12.5e-10,9223372036854775807]`,
			`[0,0,0,1,10,100,1.5,0.000001,1e-7,1e+21,-1.25e-9,9223372036854775807]`},
		{"words", ` [ true , false , null ] `, `[true,false,null]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := evidence.CanonicalJSON([]byte(c.in))
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
			again, err := evidence.CanonicalJSON(got)
			if err != nil || string(again) != string(got) {
				t.Errorf("again: %s, %v", again, err)
			}
		})
	}
}

func TestCanonicalJSONRefuses(t *testing.T) {
	for _, in := range []string{
		``, ` `, `{`, `[`, `[1`, `[1,`, `[1,]`, `[,1]`, `{"a"}`, `{"a":}`, `{"a":1`, `{"a":1,}`, `{"a":1,"a":2}`, `{"b":1,"a":2,"b":3}`, `{1:2}`, `{"a" 1}`,
		`"`, `"a`, `"\`, `"\u12"`, `"\u12g4"`, `"\x"`, "\"\n\"", "\"a\\n\n\"", "\"\xff\"", "\"\\n\xff\"", `"\ud83d"`, `"\ud83d\n"`, `"\ud83d\u0041"`, `"\ud83d\u00"`, `"\n`, `"\u`,
		`tru`, `nul`, `True`, `01`, `-`, `1.`, `.5`, `+1`, `1e`, `1e999`, `9223372036854775808`, `1e20`, `NaN`, `1 2`, `{} {}`, strings.Repeat("[", 100), "\x00",
	} {
		if got, err := evidence.CanonicalJSON([]byte(in)); err == nil {
			t.Errorf("%q became %s", in, got)
		}
	}
}

func TestCanonical(t *testing.T) {
	got, err := evidence.Canonical(map[string]any{"b": 2.5, "a": "x < y & z", "t": at})
	if want := `{"a":"x < y & z","b":2.5,"t":"2026-11-22T18:00:03Z"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := evidence.Canonical(make(chan int)); err == nil {
		t.Error("a channel has no JSON")
	}
}

func FuzzCanonicalJSON(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":[1.5,"\u00e9\n",null,true]}`, `-0.0`, `"\ud83d\ude00"`, `[[[]]]`, `1e-7`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := evidence.CanonicalJSON(in)
		if err != nil {
			return
		}
		again, err := evidence.CanonicalJSON(out)
		if err != nil || string(again) != string(out) {
			t.Fatalf("%q became %q, then %q, %v", in, out, again, err)
		}
		var before, after any
		if err := json.Unmarshal(in, &before); err != nil {
			t.Fatalf("%q was taken, encoding/json says %v", in, err)
		}
		if err := json.Unmarshal(out, &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("%q became %q, which means something else: %v", in, out, err)
		}
	})
}

func TestEntry(t *testing.T) {
	line := evidence.FormatEntry(42, at.Add(time.Nanosecond), "run-finished", []byte(`{"a":"\",\"kind\":\"x\",\"seq\":1,\"v\":1}"}`))
	want := `{"at":"2026-11-22T18:00:03Z","body":{"a":"\",\"kind\":\"x\",\"seq\":1,\"v\":1}"},"kind":"run-finished","seq":42,"v":1}`
	if string(line) != want {
		t.Fatalf("formatted %s", line)
	}
	e, err := evidence.ParseEntry(line)
	if err != nil || e.Seq != 42 || !e.At.Equal(at) || e.Kind != "run-finished" || string(e.Body) != `{"a":"\",\"kind\":\"x\",\"seq\":1,\"v\":1}"}` {
		t.Errorf("parsed %+v, %v", e, err)
	}
}

func TestParseEntryRefuses(t *testing.T) {
	for _, line := range []string{
		``, `{}`, `null`, `[]`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","seq":1,"v":2}`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","seq":1,"v":1} `,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","seq":1,"v":1,"w":1}`,
		`{"aa":1,"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","more":1,"seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"X","seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"","seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","seq":-1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","seq":1.5,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","seq":"1","v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":[],"kind":"x","seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{}, "kind":"x","seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{"b":1,"a":1},"kind":"x","seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","kind":"x","seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03+07:00","body":{},"kind":"x","seq":1,"v":1}`,
		`{"at":"2026-13-22T18:00:03Z","body":{},"kind":"x","seq":1,"v":1}`,
		`{"at":"2026-11-22T18:00:03Z","body":{},"body2":{},"kind":"x","seq":1,"v":1}`,
	} {
		if e, err := evidence.ParseEntry([]byte(line)); err == nil {
			t.Errorf("%s was taken: %+v", line, e)
		}
	}
}

// What parses must print to the same bytes.
func FuzzParseEntry(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","seq":1,"v":1}`))
	f.Add([]byte(`{"at":"2026-11-22T18:00:03Z","body":{"a":",\"kind\":\"y"},"kind":"x","seq":1,"v":1}`))
	f.Add([]byte(`{"at":"2026-11-22T18:00:03Z","body":{},"kind":"x","kind2":{"kind":"y","seq":1,"v":1},"seq":1,"v":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := evidence.ParseEntry(line)
		if err != nil {
			return
		}
		if again := evidence.FormatEntry(e.Seq, e.At, e.Kind, e.Body); string(again) != string(line) {
			t.Fatalf("%q printed as %q", line, again)
		}
		var loose struct {
			At   time.Time
			Body map[string]any
			Kind string
			Seq  int64
			V    int
		}
		if err := json.Unmarshal(line, &loose); err != nil || loose.Kind != e.Kind || loose.Seq != e.Seq || !loose.At.Equal(e.At) || loose.V != 1 {
			t.Fatalf("%q means %+v, %v; parsed as %+v", line, loose, err, e)
		}
	})
}

// grow makes a ledger of n entries and a reader of its hashes.
func grow(t *testing.T, n int64) (lines [][]byte, reader tlog.HashReaderFunc) {
	t.Helper()
	var stored []tlog.Hash
	reader = func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	}
	for i := range n {
		line := evidence.FormatEntry(i, at, "beat", []byte(`{}`))
		hashes, err := tlog.StoredHashes(i, line, reader)
		if err != nil {
			t.Fatal(err)
		}
		lines, stored = append(lines, line), append(stored, hashes...)
	}
	return lines, reader
}

// proven signs the ledger and proves entry seq in it.
func proven(t *testing.T, s *evidence.Signer, reader tlog.HashReader, seq, size int64) []byte {
	t.Helper()
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := evidence.SignCheckpoint(evidence.Checkpoint{Origin: s.Name(), Size: size, Root: root}, s)
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := tlog.ProveRecord(size, seq, reader)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.FormatProof(evidence.Proof{Index: seq, Hashes: hashes, Checkpoint: signed})
}

func newSigner(t *testing.T, code string) *evidence.Signer {
	t.Helper()
	s, err := evidence.NewSigner(code)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVerifyEntry(t *testing.T) {
	s := newSigner(t, "MAU")
	lines, reader := grow(t, 11)
	for seq, line := range lines {
		for size := int64(seq) + 1; size <= 11; size++ {
			e, c, err := evidence.VerifyEntry(line, proven(t, s, reader, int64(seq), size), s.VerifierKey())
			if err != nil || e.Seq != int64(seq) || c.Size != size || c.Origin != "saoluu/MAU" {
				t.Fatalf("entry %d in size %d: %+v, %+v, %v", seq, size, e, c, err)
			}
		}
	}
}

func TestVerifyEntryRefuses(t *testing.T) {
	s, other := newSigner(t, "MAU"), newSigner(t, "MAU")
	lines, reader := grow(t, 11)
	proof := string(proven(t, s, reader, 5, 11))
	hash := strings.Split(proof, "\n")[2]
	replace := func(old, new string) string { return strings.Replace(proof, old, new, 1) }
	for name, c := range map[string]struct {
		line       []byte
		proof, key string
	}{
		"other entry":          {lines[4], proof, s.VerifierKey()},
		"changed entry":        {[]byte(strings.Replace(string(lines[5]), "beat", "boat", 1)), proof, s.VerifierKey()},
		"not an entry":         {[]byte("{}"), proof, s.VerifierKey()},
		"other key":            {lines[5], proof, other.VerifierKey()},
		"no key":               {lines[5], proof, "x"},
		"other index":          {lines[5], replace("index 5", "index 4"), s.VerifierKey()},
		"padded index":         {lines[5], replace("index 5", "index 05"), s.VerifierKey()},
		"no index":             {lines[5], replace("index 5\n", ""), s.VerifierKey()},
		"extra data":           {lines[5], replace("index 5", "extra aGk=\nindex 5"), s.VerifierKey()},
		"hash left out":        {lines[5], replace(hash+"\n", ""), s.VerifierKey()},
		"hash twice":           {lines[5], replace(hash, hash+"\n"+hash), s.VerifierKey()},
		"hash with spare bits": {lines[5], replace(hash[42:43]+"=", "_="), s.VerifierKey()},
		"other header":         {lines[5], replace("@v1", "@v2"), s.VerifierKey()},
		"no checkpoint":        {lines[5], proof[:strings.Index(proof, "\n\n")], s.VerifierKey()},
		"other size":           {lines[5], replace("\n11\n", "\n12\n"), s.VerifierKey()},
		"too many hashes":      {lines[5], replace(hash, strings.Repeat(hash+"\n", 70)+hash), s.VerifierKey()},
		"nothing":              {lines[5], "", s.VerifierKey()},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := evidence.VerifyEntry(c.line, []byte(c.proof), c.key); fault.KindOf(err) != fault.Verification {
				t.Errorf("error %v of kind %q", err, fault.KindOf(err))
			}
		})
	}
	small := strings.SplitN(string(proven(t, s, reader, 2, 3)), "\n", 3)
	if _, _, err := evidence.VerifyEntry(lines[5], []byte(small[0]+"\nindex 5\n"+small[2]), s.VerifierKey()); fault.KindOf(err) != fault.Verification {
		t.Errorf("an entry after the checkpoint: %v", err)
	}
}

func TestCheckpoints(t *testing.T) {
	s := newSigner(t, "MAU")
	if _, err := evidence.SignCheckpoint(evidence.Checkpoint{Origin: "saoluu/OTHER"}, s); fault.KindOf(err) != fault.Usage {
		t.Errorf("signed for another site: %v", err)
	}
	sign := func(text string) []byte {
		signed, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	root := "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	for _, c := range []struct {
		text string
		good bool
	}{
		{"saoluu/MAU\n0\n" + root + "\n", true},
		{"saoluu/MAU\n7\n" + root + "\nextension\n", true},
		{"saoluu/OTHER\n7\n" + root + "\n", false},
		{"saoluu/MAU\n07\n" + root + "\n", false},
		{"saoluu/MAU\n-7\n" + root + "\n", false},
		{"saoluu/MAU\n7\nAAAA\n", false},
		{"saoluu/MAU\n7\n", false},
	} {
		signed := sign(c.text)
		_, err := evidence.VerifyCheckpoint(signed, s.VerifierKey())
		if (err == nil) != c.good || err != nil && fault.KindOf(err) != fault.Verification {
			t.Errorf("%q: %v", c.text, err)
		}
		if read, err := evidence.ReadCheckpoint(signed); c.good && (err != nil || !strings.HasPrefix(c.text, read.Text())) {
			t.Errorf("read %+v, %v", read, err)
		}
	}
	if _, err := evidence.ReadCheckpoint([]byte("x\n")); err == nil {
		t.Error("a checkpoint without signature was read")
	}
}

func TestVerifyGrowth(t *testing.T) {
	_, reader := grow(t, 20)
	at := func(n int64) evidence.Checkpoint {
		root, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		return evidence.Checkpoint{Origin: "saoluu/MAU", Size: n, Root: root}
	}
	proof, err := tlog.ProveTree(20, 7, reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := evidence.VerifyGrowth(at(7), at(20), proof); err != nil {
		t.Error(err)
	}
	for _, same := range []int64{0, 20} {
		if err := evidence.VerifyGrowth(at(same), at(20), nil); err != nil {
			t.Error(err)
		}
	}
	forged, elsewhere := at(20), at(20)
	forged.Root[0] ^= 1
	elsewhere.Origin = "saoluu/OTHER"
	for name, c := range map[string]struct {
		older, newer evidence.Checkpoint
		proof        []tlog.Hash
	}{
		"shrunk":       {at(20), at(7), proof},
		"rewritten":    {at(7), forged, proof},
		"same size":    {at(20), forged, nil},
		"other origin": {at(7), elsewhere, proof},
		"no proof":     {at(7), at(20), nil},
	} {
		if err := evidence.VerifyGrowth(c.older, c.newer, c.proof); fault.KindOf(err) != fault.Verification {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSigner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "ledger.key")
	if _, err := evidence.LoadSigner(path); fault.KindOf(err) != fault.MissingState {
		t.Errorf("missing key: %v", err)
	}
	s, err := evidence.CreateSigner(path, "STP-HD")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	if _, err := evidence.CreateSigner(path, "STP-HD"); fault.KindOf(err) != fault.Refused || !errors.Is(err, os.ErrExist) {
		t.Errorf("second key: %v", err)
	}
	again, err := evidence.LoadSigner(path)
	if err != nil || again.VerifierKey() != s.VerifierKey() || again.Name() != "saoluu/STP-HD" || again.KeyHash() != s.KeyHash() {
		t.Fatalf("loaded: %v", err)
	}
	v, err := note.NewVerifier(s.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	sig, err := again.Sign([]byte("text"))
	if err != nil || !v.Verify([]byte("text"), sig) {
		t.Errorf("signature: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.LoadSigner(path); fault.KindOf(err) != fault.Refused {
		t.Errorf("key others can read: %v", err)
	}
	if err := os.WriteFile(path, []byte("PRIVATE+KEY+x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.LoadSigner(path); fault.KindOf(err) != fault.Damaged {
		t.Errorf("damaged key: %v", err)
	}
	for _, code := range []string{"", "a b", "a+b", "a'b", "a\nb", "a;b"} {
		if _, err := evidence.NewSigner(code); fault.KindOf(err) != fault.Usage {
			t.Errorf("code %q: %v", code, err)
		}
	}
}

// onlyLeaf reads the hashes of a ledger of one entry.
func onlyLeaf(line []byte) tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i := range out {
			out[i] = tlog.RecordHash(line)
		}
		return out, nil
	}
}
