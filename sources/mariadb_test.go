package sources

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestMariaRights(t *testing.T) {
	tests := []struct {
		name   string
		grants []string
		want   string
	}{
		{"everything", []string{"GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"}, ""},
		{"what the hint says", []string{"GRANT SELECT, RELOAD, SHOW VIEW, EVENT, TRIGGER ON *.* TO `s`@`%` IDENTIFIED BY PASSWORD '*X'"}, ""},
		{"one database", []string{"GRANT RELOAD ON *.* TO `s`@`%`", "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `a_b`.* TO `s`@`%`"}, ""},
		{"a pattern", []string{"GRANT RELOAD ON *.* TO `s`@`%`", "GRANT ALL PRIVILEGES ON `a%`.* TO `s`@`%`"}, ""},
		{"another pattern", []string{"GRANT RELOAD ON *.* TO `s`@`%`", "GRANT ALL PRIVILEGES ON `aa\\_%`.* TO `s`@`%`"}, "SELECT"},
		{"one table", []string{"GRANT RELOAD, SHOW VIEW, EVENT, TRIGGER ON *.* TO `s`@`%`", "GRANT SELECT ON `a_b`.`t` TO `s`@`%`"}, "SELECT"},
		{"no triggers", []string{"GRANT SELECT, RELOAD, SHOW VIEW, EVENT ON *.* TO `s`@`%`"}, "TRIGGER"},
		{"taken away", []string{"GRANT SELECT, RELOAD, SHOW VIEW, EVENT, TRIGGER ON *.* TO `s`@`%`", "REVOKE SELECT ON `a_b`.* FROM `s`@`%`"}, "SELECT"},
		{"nothing", []string{"GRANT USAGE ON *.* TO `s`@`%`"}, "RELOAD, which is given on *.* only,"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseRights(tt.grants).lacking("a_b"); got != tt.want {
				t.Errorf("lacking %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMariaSeesAll(t *testing.T) {
	for _, tt := range []struct {
		grant string
		want  bool
	}{
		{"GRANT RELOAD ON *.* TO `s`@`%`", false},
		{"GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `a`.* TO `s`@`%`", false},
		{"GRANT RELOAD, SHOW DATABASES ON *.* TO `s`@`%`", true},
		{"GRANT SELECT, RELOAD ON *.* TO `s`@`%`", true},
		{"GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", true},
	} {
		if got := parseRights([]string{tt.grant}).seesAll(); got != tt.want {
			t.Errorf("%s: %v", tt.grant, got)
		}
	}
}

func TestMariaDBVersion(t *testing.T) {
	for text, want := range map[string]string{
		"10.11.19-MariaDB-0+deb12u1-log": "mariadb 10.11",
		"5.5.5-10.6.12-MariaDB":          "mariadb 10.6",
		"11.4.2-MariaDB":                 "mariadb 11.4",
		"8.0.36":                         "mysql 8.0",
	} {
		if got := MariaDBVersion(text); got != want {
			t.Errorf("MariaDBVersion(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestMariaNewer(t *testing.T) {
	for _, tt := range []struct {
		server, program string
		want            bool
	}{
		{"mariadb 10.11", "mariadb 10.11", false},
		{"mariadb 10.11", "mariadb 11.4", false},
		{"mariadb 11.4", "mariadb 10.11", true},
		{"mariadb 10.11", "mariadb 10.5", true},
		{"mariadb 10.5", "mariadb 10.11", false},
		{"mariadb 10.11", "mysql 8.0", true},
		{"mysql 8.0", "mariadb 10.11", false},
	} {
		if got := newer(tt.server, tt.program); got != tt.want {
			t.Errorf("newer(%q, %q) = %v", tt.server, tt.program, got)
		}
	}
	for text, want := range map[string]string{
		"mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)": "10.11.19-MariaDB,",
		"mariadb-dump from 11.4.2-MariaDB, client 10.19 for linux-systemd (x86_64)":       "11.4.2-MariaDB,",
		"mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)":        "",
	} {
		got := ""
		if m := mariaClient.FindStringSubmatch(text); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%q: version %q, want %q", text, got, want)
		}
	}
}

// The snapshot is known to be open at the first line after the header, however the
// dump comes in pieces, and not before.
func TestDumpWatch(t *testing.T) {
	head := "-- MariaDB dump\n-- Host: x    Database: -- Table structure\n/*!40101 SET NAMES utf8mb4 */;\n\n--\n"
	var out bytes.Buffer
	w := &dumpWatch{w: &out, opened: make(chan struct{})}
	open := func() bool {
		select {
		case <-w.opened:
			return true
		default:
			return false
		}
	}
	_, _ = io.WriteString(w, head)
	if open() {
		t.Fatal("open at the header")
	}
	for _, piece := range []string{"-- Table struc", "ture for table `a`\n", strings.Repeat("x", 100)} {
		_, _ = io.WriteString(w, piece)
	}
	if !open() || w.complete() {
		t.Fatalf("open %v, complete %v; want true, false", open(), w.complete())
	}
	_, _ = io.WriteString(w, "-- Dump comp")
	_, _ = io.WriteString(w, "leted\n")
	if !w.complete() || !strings.HasPrefix(out.String(), head) {
		t.Error("the end was not seen, or not passed on")
	}
}

// A statement that sets a database's character set names the new database; the same
// text within a line is data.
func TestRenamed(t *testing.T) {
	dump := "ALTER DATABASE `cũ``` CHARACTER SET utf8mb4 COLLATE x ;\nINSERT INTO t VALUES ('ALTER DATABASE `a` CHARACTER SET b');\n" +
		strings.Repeat("y", 3<<20) + "ALTER DATABASE `a` CHARACTER SET b\nALTER DATABASE `a`;\nend"
	want := strings.Replace(dump, "`cũ```", "`mới`", 1)
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(dump), "bit by bit": iotest.HalfReader(strings.NewReader(dump))} {
		got, err := io.ReadAll(renamed(r, "mới"))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v; %.100q", name, err, got)
		}
	}
}

// What changed between two looks has no fact; a counter may go on.
func TestMariaSteady(t *testing.T) {
	look := func(schema, counter, touched, rows string) *mariaSurvey {
		return &mariaSurvey{
			schema: Fact{Kind: FactSchema, Value: schema}, counters: []Fact{{Kind: FactSequence, Of: "`c`", Value: counter}},
			tables: []mariaTable{{name: "i", engine: "InnoDB"}, {name: "m", engine: "MyISAM"}}, touched: map[string]string{"`m`": touched},
			loose: []Fact{{Kind: FactRows, Of: "`m`", Value: rows}},
		}
	}
	kinds := func(facts []Fact) (all []string) {
		for _, f := range facts {
			all = append(all, f.Kind)
		}
		return all
	}
	before := look("a", "5", "t", "1")
	tests := []struct {
		name  string
		after *mariaSurvey
		want  []string
	}{
		{"still", before, []string{FactSchema, FactSequence, FactRows}},
		{"counted on", look("a", "6", "t", "1"), []string{FactSchema, FactSequence, FactRows}},
		{"set back", look("a", "4", "t", "1"), []string{FactSchema, FactRows}},
		{"another schema", look("b", "5", "t", "1"), []string{FactSkipped, FactSequence, FactRows}},
		{"written", look("a", "5", "u", "1"), []string{FactSchema, FactSequence, FactUnread}},
		{"other rows", look("a", "5", "t", "2"), []string{FactSchema, FactSequence, FactUnread}},
	}
	for _, tt := range tests {
		if got := kinds(before.steady(tt.after)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
