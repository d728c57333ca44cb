package sources

import "testing"

// What is another each time it is shown does not count; what stays does.
func TestSteady(t *testing.T) {
	preset, _ := devicePresets("fortios")
	shown := func(hash, salt string) []byte {
		return []byte("set password ENC " + hash + "\nset psksecret ENC " + salt + "\nset private-key \"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + salt +
			"\n-----END ENCRYPTED PRIVATE KEY-----\"\nset ip 192.0.2.1\n")
	}
	first := string(steady(shown("SH2a", "x"), shown("SH2a", "y"), preset.settle))
	for _, c := range []struct {
		name        string
		text, again []byte
		same        bool
	}{
		{"nothing", shown("SH2a", "v"), shown("SH2a", "w"), true},
		{"the hash", shown("SH2b", "v"), shown("SH2b", "w"), false},
		{"a line", append(shown("SH2a", "v"), "end\n"...), append(shown("SH2a", "w"), "end\n"...), false},
	} {
		if got := string(steady(c.text, c.again, preset.settle)); (got == first) != c.same {
			t.Errorf("%s changed: %q, before %q", c.name, got, first)
		}
	}
	if got := string(steady(shown("SH2a", "x"), []byte("other"), preset.settle)); got == first || len(got) == 0 {
		t.Errorf("changed meanwhile: %q", got)
	}
}
