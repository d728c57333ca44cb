package verify

import (
	"os"
	"path/filepath"
	"testing"
)

// What a parser says decides whether it found an error or lacks something that is not
// part of what was restored.
func TestParserLacks(t *testing.T) {
	tree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, "etc/nginx"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/share/nginx/none.conf", filepath.Join(tree, "etc/nginx/link.conf")); err != nil {
		t.Fatal(err)
	}
	f := &files{examination: &examination{request: Request{Saved: []string{"/etc/nginx"}, Excluded: []string{"*.key"}}}, parts: []restoredPart{{dir: tree}}}
	for said, want := range map[string]struct {
		makes string
		lacks bool
	}{
		`[emerg] unknown directive "x" in /etc/nginx/nginx.conf:3`:                                                   {},
		`[emerg] open() "/var/log/nginx/a/x.log" failed (2: No such file or directory) in /etc/nginx/nginx.conf:3`:   {"/var/log/nginx/a", true},
		`(2)No such file or directory: AH02291: Cannot access directory '/var/log/so/' for main error log`:           {"/var/log/so", true},
		`/etc/bind/named.conf:1: change directory to '/var/cache/so' failed: file not found`:                         {"/var/cache/so", true},
		`[emerg] open() "/etc/nginx/none.conf" failed (2: No such file or directory) in /etc/nginx/nginx.conf:3`:     {},
		`[emerg] open() "/etc/nginx/link.conf" failed (2: No such file or directory) in /etc/nginx/nginx.conf:3`:     {"", true},
		`[emerg] cannot load certificate key "/etc/nginx/so.key": BIO_new_file() failed (No such file or directory)`: {"", true},
		`[emerg] cannot load certificate "/etc/ssl/so.pem": BIO_new_file() failed (No such file or directory)`:       {"", true},
		`Could not open configuration file /etc/apache2/none.conf: No such file or directory`:                        {"", true},
		`[emerg] getpwnam("so") failed in /etc/nginx/nginx.conf:1`:                                                   {"", true},
		`[emerg] open() "/var/lib/so/x" failed (30: Read-only file system)`:                                          {"", true},
		`AH00112: Warning: DocumentRoot [/var/www/so] does not exist` + "\nInvalid command 'X'":                      {},
	} {
		p, _ := parserOf("nginx", "")
		if got := f.wanted(said); got != want.makes {
			t.Errorf("%s: makes %q, want %q", said, got, want.makes)
		}
		if got := f.lack(p, said); (got != "") != want.lacks {
			t.Errorf("%s: lacks %q", said, got)
		}
	}
}

func TestSyntax(t *testing.T) {
	for _, c := range []struct {
		parser, text string
		good         bool
	}{
		{"yaml", "a: 1\n---\nb: !vault |\n  abc\n", true},
		{"yaml", "a: 1\na: 2\n", false},
		{"yaml", "a: 1\n---\nb: 1\nb: 2\n", false},
		{"yaml", "a: [1\n", false},
		{"yaml", "a: *none\n", false},
		{"yaml", "- a\n", true},
		{"yaml", "{}\n", true},
		{"yaml", "# a\n---\n", false},
		{"yaml", "<html>502 Bad Gateway</html>\n", false},
		{"json", `{"a": 1}`, true},
		{"json", "{}", true},
		{"json", "null", false},
		{"toml", "# a = 1\n", false},
		{"json", `{"a": 1} x`, false},
		{"toml", "a = 1\na = 2\n", false},
		{"ini", "[a]\nb = 1\n c\n; d\n", true},
		{"ini", "[a\n", false},
		{"ini", "whatever\nthis is\n", false},
		{"ini", "# \x00\n", false},
	} {
		p, _ := parserOf(c.parser, "")
		if err := p.syntax([]byte(c.text)); (err == nil) != c.good {
			t.Errorf("%s of %q: %v", c.parser, c.text, err)
		}
	}
}

// An error that was found is not hidden by something that is lacking beside it.
func TestParserFinds(t *testing.T) {
	f := &files{examination: &examination{}}
	for _, c := range []struct {
		parser, said string
		lacks        bool
	}{
		{"systemd", "/etc/systemd/a.service:3: Unknown key 'x'\na.service: Command /usr/bin/x is not executable: No such file or directory", false},
		{"systemd", "a.service: Command /usr/bin/x is not executable: No such file or directory", true},
		{"systemd", "systemd-analyze: unrecognized option '--recursive-errors=no'", true},
		{"nft", "/etc/nftables.conf:1:77-81: Error: syntax error, unexpected string\n/etc/nftables.conf:2: Error: Interface does not exist", false},
		{"nft", "/etc/nftables.conf:2: Error: Interface does not exist", true},
	} {
		p, _ := parserOf(c.parser, "")
		if got := f.lack(p, c.said); (got != "") != c.lacks {
			t.Errorf("%s: lacks %q", c.said, got)
		}
	}
}

// Pieces that a service looks for, and does not miss, are not known to be good when they were not saved.
func TestParserLooksOutside(t *testing.T) {
	for _, c := range []struct {
		parser, text string
		saved        []string
		want         string
	}{
		{"nginx", "http { include /etc/nginx/conf.d/*.conf; }\n", []string{"/etc/nginx/nginx.conf"}, "/etc/nginx/conf.d/*.conf"},
		{"nginx", "include /etc/nginx/conf.d/*.conf;\n", []string{"/etc"}, ""},
		{"nginx", "include conf.d/*.conf;\n", []string{"/etc/nginx/nginx.conf", "/etc/nginx/conf.d"}, ""},
		{"nginx", "include /etc/nginx/sites-*/*.conf;\n", []string{"/etc/nginx/nginx.conf", "/etc/nginx/sites-enabled/"}, ""},
		{"nginx", "include /usr/share/nginx/modules/*.conf; # include /srv/*.conf;\n", []string{"/etc/nginx/nginx.conf"}, ""},
		{"nginx", "include mime.types;\n", []string{"/etc/nginx/nginx.conf"}, ""},                  // nginx misses it
		{"nginx", "include /etc/nginx/keys/*.conf;\n", []string{"/etc"}, "/etc/nginx/keys/*.conf"}, // excluded
		{"sshd", "Port 22\nInclude /etc/ssh/sshd_config.d/*.conf\n", []string{"/etc/ssh/sshd_config"}, "/etc/ssh/sshd_config.d/*.conf"},
		{"sshd", "Include a.conf /srv/b.conf\n", []string{"/etc/ssh"}, "/srv/b.conf"},
		{"sshd", "# Include /srv/b.conf\n", []string{"/etc/ssh"}, ""},
		{"sudoers", "@includedir /etc/sudoers.d\n", []string{"/etc/sudoers"}, "/etc/sudoers.d"},
		{"sudoers", "#includedir /etc/sudoers.d\n", []string{"/etc/sudoers", "/etc/sudoers.d"}, ""},
		{"apache", "IncludeOptional mods-enabled/*.load\nInclude ports.conf\n", []string{"/etc/apache2/apache2.conf"}, "/etc/apache2/mods-enabled/*.load"},
		{"apache", "IncludeOptional \"${SO}/x.conf\"\n", []string{"/etc/apache2"}, ""},
		{"nft", "include \"/etc/nftables.d/*.nft\"\n", []string{"/etc/nftables.conf"}, "/etc/nftables.d/*.nft"},
	} {
		p, _ := parserOf(c.parser, "")
		f := &files{examination: &examination{request: Request{Saved: c.saved, Excluded: []string{"keys"}}}}
		if got := f.outside(p, p.path, []byte(c.text)); got != c.want {
			t.Errorf("%s of %q with %q: %q, want %q", c.parser, c.text, c.saved, got, c.want)
		}
	}
}
