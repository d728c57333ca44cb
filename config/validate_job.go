package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"saoluu/internal/calendar"
)

func (c checker) job(j *Job, n *node) {
	j.Name = n.name
	if j.Title == "" {
		j.Title = n.name
	}
	c.inService(j, n)
	if k := n.inner("classification"); k != nil {
		c.classification(j.Classification, k)
	}
	c.retention(j, n)
	c.jobTargets(j, n)
	c.secrecy(j, n)
	c.limit(n, "rpo", j.RPO)
	c.limit(n, "rto", j.RTO)
	if s := n.inner("source"); s.good("type") {
		c.source(j, s)
	}
	c.restoreTest(j, n)
}

func (c checker) inService(j *Job, n *node) {
	if !n.good("in_service") {
		return
	}
	if _, err := calendar.ParseDate(j.InService); err != nil {
		c.tell(n, "in_service", fmt.Sprintf("%q is not a day of the calendar", j.InService), "write it as \"2026-05-31\"")
	}
}

// retention checks the class, and that the job can have the copies it wants.
func (c checker) retention(j *Job, n *node) {
	if !n.good("class") {
		return
	}
	class := c.lookup("classes", j.Class)
	if class == nil {
		c.tell(n, "class", fmt.Sprintf("there is no class %q", j.Class), suggest(j.Class, c.known("classes")))
		return
	}
	copies := class.value.Addr().Interface().(*Class).Copies
	if n.good("targets") && len(j.Targets) > 0 && len(j.Targets) < copies {
		c.tell(n, "targets", fmt.Sprintf("class %q wants %d copies, and the job has %d target(s)", j.Class, copies, len(j.Targets)),
			"add a target, or choose a class with fewer copies")
	}
}

func (c checker) jobTargets(j *Job, n *node) {
	if n.good("targets") && len(j.Targets) == 0 {
		c.tell(n, "targets", "the job has no target", "name at least one")
	}
	for _, name := range j.Targets {
		found := c.lookup("targets", name)
		if found == nil {
			c.tell(n, "targets", fmt.Sprintf("there is no target %q", name), suggest(name, c.known("targets")))
			continue
		}
		t := found.value.Addr().Interface().(*Target)
		if t.Type == "removable" && n.good("secrecy") && found.good("secrecy") && j.Secrecy != t.Secrecy {
			c.tell(n, "targets", fmt.Sprintf("the data are of secrecy %q, and the medium of target %q is for %q", j.Secrecy, name, t.Secrecy),
				"keep data of different secrecy on different media")
		}
	}
}

// secrecy refuses state secrets on machines that must not hold them. The zones
// are those of the national rule, to which a stricter active pack adds.
func (c checker) secrecy(j *Job, n *node) {
	site := c.root.inner("site")
	if !n.good("secrecy") || j.Secrecy == "none" || !site.good("zone") {
		return
	}
	s := c.root.value.Addr().Interface().(*Config).Site
	forbidden := []string{"lan", "tslcd", "internet"}
	if slices.Contains(s.Packs, "BP29") {
		forbidden = append(forbidden, "lan_doc_lap")
	}
	if slices.Contains(forbidden, s.Zone) {
		c.tell(n, "secrecy", fmt.Sprintf("state secrets (%s) are refused in zone %q", j.Secrecy, s.Zone),
			"back them up on a machine of a permitted zone, and remove the job here")
	}
}

// limit reports an objective of zero.
func (c checker) limit(n *node, key string, d calendar.Duration) {
	if n.good(key) && d == 0 {
		c.tell(n, key, fmt.Sprintf("%s is zero, which no backup can meet", key), "write a duration such as \"24h\", or leave it out")
	}
}

func (c checker) source(j *Job, n *node) {
	s := &j.Source
	c.facts(s, n)
	if n.good("facts_limit") && s.FactsLimit == 0 {
		c.tell(n, "facts_limit", "facts_limit is zero, so that nothing could be compared", "write a duration such as \"1h\", or leave it out")
	}
	c.secret(n, "password", s.Password)
	c.absolute(n, "path", s.Path)
	c.absolute(n, "bin", s.Bin)
	switch s.Type {
	case "files":
		if n.good("paths") && len(s.Paths) == 0 {
			c.tell(n, "paths", "there are no paths", "name at least one folder or file")
		}
		for _, path := range s.Paths {
			if !isCleanPath(path) {
				c.tell(n, "paths", fmt.Sprintf("path %q is not absolute and clean", path), "write the whole path from /, without .. and double slashes")
				continue
			}
			c.apart(j, n, "paths", path)
		}
	case "config":
		c.configuration(j, s, n)
	case "sqlite":
		if n.good("path") {
			c.apart(j, n, "path", s.Path)
		}
	case "image":
		c.imageMethod(j, s, n)
	case "postgres":
		c.server(s, n)
	case "mariadb":
		c.mariadb(s, n)
	case "redis":
		c.redis(s, n)
	case "command":
		c.command(j, s, n)
	case "mongodb", "sqlserver", "oracle":
		c.vendor(j, s, n)
	}
}

// maxFactsFiles bounds how many files of an image are read one by one, each by a
// program of its own.
const maxFactsFiles = 100

func (c checker) factsFiles(s *Source, n *node) {
	for _, path := range s.FactsFiles {
		if !isCleanPath(path) || strings.ContainsAny(path, "\n\r") {
			c.tell(n, "facts_files", fmt.Sprintf("path %q is not absolute and clean", path), "write the whole path on the disk from /, without .. and double slashes")
		}
	}
	if len(s.FactsFiles) > maxFactsFiles {
		c.tell(n, "facts_files", fmt.Sprintf("%d files are more than %d", len(s.FactsFiles), maxFactsFiles), "name those that matter: the digest of the whole disk covers the others")
	}
}

// facts gives facts its default, which depends on the type.
func (c checker) facts(s *Source, n *node) {
	modes := []string{"full", "counts"} // the default first
	switch s.Type {
	case "files", "command", "sqlserver", "oracle":
		modes = []string{"sampled", "full"}
	case "config":
		modes = []string{"full"}
	case "mongodb":
		modes = []string{"counts"}
	case "image":
		modes = []string{"full"}
		if s.Method == SystemTree {
			modes = []string{"sampled", "full"}
		}
	case "redis":
		modes = []string{"sampled", "full", "counts"}
	}
	switch {
	case s.Facts == "":
		s.Facts = modes[0]
	case n.good("facts") && !slices.Contains(modes, s.Facts):
		c.tell(n, "facts", fmt.Sprintf("a %s source has no facts %q", s.Type, s.Facts), "choose one of: "+strings.Join(modes, ", "))
	}
}

// apart reports a source and a target of the job that contain each other: the
// backup would contain itself, or die with its source.
func (c checker) apart(j *Job, n *node, key, path string) {
	for _, name := range j.Targets {
		target := c.lookup("targets", name)
		if !target.good("path") || target.value.Addr().Interface().(*Target).Type != "local" {
			continue
		}
		at := target.value.Addr().Interface().(*Target).Path
		excluded := slices.ContainsFunc(j.Source.Exclude, func(pattern string) bool { return isCleanPath(pattern) && inside(at, pattern) })
		switch {
		case inside(path, at):
			c.tell(n, key, fmt.Sprintf("path %q lies inside target %q", path, name), "back up to a place apart from the data")
		case inside(at, path) && !excluded:
			c.tell(n, key, fmt.Sprintf("path %q contains target %q, so that every backup would contain the ones before", path, name),
				fmt.Sprintf("add %q to exclude, or move the target", at))
		}
	}
}

// isServer tells the kinds of source that are databases of a server.
func isServer(kind string) bool { return kind == "postgres" || kind == "mariadb" }

func isThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.IsLoopback())
}

// defaultTests are due by importance: every three, six or twelve months.
var defaultTests = map[string]string{
	"high":   "quarterly on 5 at 03:00",
	"normal": "half-yearly on 5 at 03:00",
	"low":    "yearly on 01-05 at 03:00",
}

func (c checker) restoreTest(j *Job, n *node) {
	t, tn := &j.Test, n.inner("restore_test")
	if text, ok := defaultTests[j.Importance]; ok && !tn.good("schedule") {
		t.Schedule = c.schedule(text)
	}
	if tn == nil {
		return
	}
	if tn.good("target") && n.good("targets") && !slices.Contains(j.Targets, t.Target) {
		c.tell(tn, "target", fmt.Sprintf("%q is not a target of the job", t.Target), suggest(t.Target, j.Targets))
	}
	c.absolute(tn, "bin", t.Bin)
	kind := ""
	if n.inner("source").good("type") {
		kind = j.Source.Type
	}
	if tn.good("bin") && kind != "" && !isServer(kind) && kind != "mongodb" && kind != "redis" {
		c.tell(tn, "bin", fmt.Sprintf("key %q belongs to tests of type postgres, mariadb, mongodb or redis, not %q", "bin", kind), "remove it")
	}
	if checks := tn.inner("checks"); checks != nil {
		for i, check := range checks.nodes {
			c.assertion(&t.Checks[i], check, kind, j)
		}
	}
}

// schedule returns a schedule of our own texts, parsed once for all jobs.
func (c checker) schedule(text string) calendar.Schedule {
	if s, ok := c.defaults[text]; ok {
		return s
	}
	s, err := calendar.ParseSchedule(text)
	if err != nil {
		panic("config: default schedule: " + err.Error())
	}
	c.defaults[text] = s
	return s
}

// comparisons are the keys that say what the value of sql must be.
var comparisons = []string{"min", "max", "equals", "newer_than", "expected_empty"}

// assertion checks that a check asserts exactly one thing, and something that
// can be false: a check that cannot fail would be a false green.
func (c checker) assertion(k *Check, n *node, kind string, j *Job) {
	subjects := n.written("sql", "redis", "exists", "sha256", "min_files", "parse", "run", "boot")
	if len(subjects) != 1 {
		why := "asserts nothing"
		if len(subjects) > 1 {
			why = "asserts more than one thing: " + strings.Join(subjects, ", ")
		}
		c.problem(n.at, "the check "+why, "set exactly one of: sql, redis, exists, sha256, min_files, parse, run, boot")
		return
	}
	compared := n.written(comparisons...)
	subject := subjects[0]
	c.bootCheck(k, n, kind, subject)
	switch {
	case kind == "redis" || subject == "redis":
		c.redisCheck(k, n, kind, subject, compared)
	case subject == "sql" && !isServer(kind) && kind != "sqlite" && kind != "":
		c.tell(n, "sql", fmt.Sprintf("a %s source has no database to ask", kind), "use exists, sha256, min_files or run")
	case (kind == "command" || kind == "mongodb") && j.Source.Folder == "" && subject != "run":
		c.tell(n, subject, "the output of a program is one file, of which nothing is known but by a program", "use run, or let the program leave files in a folder")
	case subject == "sql":
		c.comparison(k, n, compared)
		if whole(j.Source) && len(n.written("database")) == 0 {
			c.tell(n, "sql", "nothing says which database of the server is asked", "add database, with the name of one")
		}
		if n.good("database") && (!isServer(kind) || len(j.Source.Databases) > 0 && !slices.Contains(j.Source.Databases, k.Database)) {
			c.tell(n, "database", fmt.Sprintf("the source has no database %q to choose", k.Database), "leave it out, or name one of the source's databases")
		}
	case kind == "sqlite" || isServer(kind):
		c.tell(n, subject, fmt.Sprintf("a %s source has no files to look at", kind), "use sql")
	case len(compared) > 0:
		c.tell(n, compared[0], fmt.Sprintf("%q goes with sql, not with %s", compared[0], subject), "remove it")
	case n.good("database"):
		c.tell(n, "database", fmt.Sprintf("%q goes with sql, not with %s", "database", subject), "remove it")
	}
	if n.good("run") && (len(k.Run) == 0 || k.Run[0] == "" || strings.Contains(k.Run[0], "{}")) {
		c.tell(n, "run", "no program is named to run", "write the program, then its arguments, with {} for what was restored")
	}
	c.given(k, n)
	c.parsed(k, n, kind)
	switch kind {
	case "files":
		c.files(k, n, j.Source.Paths)
	case "config":
		c.files(k, n, append([]string{"/commands", "/devices"}, j.Source.Paths...))
	case "command", "sqlserver", "oracle":
		c.files(k, n, []string{j.Source.Folder})
	case "image":
		c.files(k, n, []string{"/"})
	}
}

// redisCheck checks what a redis source is asked.
func (c checker) redisCheck(k *Check, n *node, kind, subject string, compared []string) {
	switch {
	case subject != "redis":
		c.tell(n, subject, fmt.Sprintf("a redis source is asked by a command of its own, not by %s", subject), "use redis")
	case kind != "" && kind != "redis":
		c.tell(n, "redis", fmt.Sprintf("a %s source does not understand Redis commands", kind), "remove it")
	default:
		c.comparison(k, n, compared)
	}
	if n.good("redis") && (len(k.Redis) == 0 || k.Redis[0] == "") {
		c.tell(n, "redis", "no command is named", "write a command that reads, then its arguments, such as [\"SCARD\", \"key\"]")
	}
	if number, err := strconv.Atoi(k.Database); n.good("database") && kind == "redis" && (err != nil || number < 0) {
		c.tell(n, "database", fmt.Sprintf("%q is not the number of a database", k.Database), "write a number such as \"0\"")
	}
}

// files checks what a files source is asked for. A file that no backup contains
// would fail every test.
func (c checker) files(k *Check, n *node, paths []string) {
	saved := func(n *node, key, path string) {
		c.absolute(n, key, path)
		if n.good(key) && isCleanPath(path) && !slices.ContainsFunc(paths, func(p string) bool { return inside(path, p) }) {
			c.tell(n, key, fmt.Sprintf("%q is not in the paths of the source", path), "write a path that is backed up")
		}
	}
	saved(n, "exists", k.Exists)
	saved(n, "path", k.Path)
	hash := n.inner("sha256")
	if hash == nil {
		return
	}
	saved(hash, "path", k.SHA256.Path)
	k.SHA256.Hex = strings.ToLower(k.SHA256.Hex)
	if sum, err := hex.DecodeString(k.SHA256.Hex); hash.good("hex") && (err != nil || len(sum) != 32) {
		c.tell(hash, "hex", "not a SHA-256: 64 hexadecimal digits", "write what sha256sum prints")
	}
}

// comparison checks what the value of a query is compared with.
func (c checker) comparison(k *Check, n *node, compared []string) {
	both := len(compared) == 2 && compared[0] == "min" && compared[1] == "max"
	switch {
	case n.good("sql") && strings.TrimSpace(k.SQL) == "":
		c.tell(n, "sql", "the query is empty", "write a query with one value")
	case len(compared) == 0:
		c.tell(n, n.written("sql", "redis")[0], "nothing says what the query must return", "add one of: "+strings.Join(comparisons, ", "))
	case len(compared) > 1 && !both:
		c.tell(n, compared[1], fmt.Sprintf("%s exclude each other", strings.Join(compared, " and ")), "keep one; only min and max go together")
	case both && n.good("min") && n.good("max") && *k.Min > *k.Max:
		c.tell(n, "max", fmt.Sprintf("max %v is less than min %v, which no value can meet", *k.Max, *k.Min), "exchange the two")
	case n.good("newer_than") && *k.NewerThan == 0:
		c.tell(n, "newer_than", "newer_than is zero, which no value can meet", "write a duration such as \"48h\"")
	case n.good("expected_empty") && !k.ExpectedEmpty:
		c.tell(n, "expected_empty", "expected_empty = false asserts nothing", "write true, or use min")
	}
}
