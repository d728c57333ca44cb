package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// A mongo is a deployment of MongoDB: its collections hold so many documents.
type mongo struct {
	Host, User, Password, AuthDB string
	CA                           string // asked of whoever connects, with TLS
	Server, Tools                string // versions
	Databases                    map[string]map[string]int
	Fault                        string // "half": the dump breaks off; "silent": and the tool does not notice
}

func mongoServer() mongo {
	m := mongo{Host: "127.0.0.1:27017", AuthDB: "admin", Server: "7.0.14", Tools: "100.9.4"}
	server("mongo", &m)
	return m
}

// say writes a line of a tool's log.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s\t%s\n", time.Now().Format("2006-01-02T15:04:05.000-0700"), fmt.Sprintf(format, args...))
}

// options reads --name and --name=value; a name that is not among known ends the
// tool as it would.
func options(tool string, args []string, known ...string) map[string]string {
	got := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !strings.HasPrefix(arg, "--") || !slices.Contains(known, name) {
			say("error parsing command line options: unknown option %q", name)
			say("try '%s --help' for more information", tool)
			os.Exit(1)
		}
		got[name] = value
	}
	return got
}

// connect lets a tool in, or says why not.
func (m mongo) connect(o map[string]string) error {
	_, tls := o["ssl"]
	_, insecure := o["tlsInsecure"]
	failed := "can't create session: failed to connect to mongodb://" + o["host"] + "/: "
	last := ""
	switch {
	case o["host"] != m.Host:
		last = "dial tcp " + o["host"] + ": connect: connection refused"
	case tls != (m.CA != ""):
		last = "connection(" + o["host"] + "[-3]) incomplete read of message header: EOF"
	case tls && !insecure && o["sslCAFile"] != m.CA:
		last = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
	}
	if last != "" {
		return fmt.Errorf("%sserver selection error: server selection timeout, current topology: { Type: Unknown, Servers: [{ Addr: %s, Type: Unknown, Last error: %s }, ] }", failed, o["host"], last)
	}
	if m.User == "" {
		return nil
	}
	if o["username"] == "" {
		return fmt.Errorf("error connecting to host: (Unauthorized) command listCollections requires authentication")
	}
	var config struct {
		Password string `json:"password"`
	}
	text, err := os.ReadFile(o["config"])
	if err != nil {
		return fmt.Errorf("error opening file with --config: %w", err)
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&config); err != nil {
		return fmt.Errorf("error parsing config file %s: %w", o["config"], err)
	}
	if o["username"] != m.User || config.Password != m.Password || o["authenticationDatabase"] != m.AuthDB {
		return fmt.Errorf("%sconnection() error occurred during connection handshake: auth error: sasl conversation error: unable to authenticate using mechanism \"SCRAM-SHA-256\": (AuthenticationFailed) Authentication failed", failed)
	}
	return nil
}

func mongodump(args []string) int {
	m := mongoServer()
	guard(m.Password, true)
	o := options("mongodump", args, "version", "host", "username", "authenticationDatabase", "config", "ssl", "sslCAFile", "tlsInsecure", "db", "collection", "oplog", "archive")
	if _, asked := o["version"]; asked {
		fmt.Printf("mongodump version: %s\ngit version: 0f5a4a7\nGo version: go1.21.7\n   os: linux\n   arch: amd64\n   compiler: gc\n", m.Tools)
		return 0
	}
	_, oplog := o["oplog"]
	if oplog && o["db"] != "" {
		say("Failed: bad option: --oplog mode only supported on full dumps")
		return 1
	}
	if err := m.connect(o); err != nil {
		say("Failed: %v", err)
		return 1
	}
	if c := o["collection"]; c != "" {
		if _, there := m.Databases[o["db"]][c]; !there {
			say("namespace with DB `%s` and collection `%s` does not exist", o["db"], c)
			return 0
		}
	}
	return m.dump(o["db"], oplog)
}

// dump writes the archive of a database, or of all.
func (m mongo) dump(only string, oplog bool) int {
	a := newArchive(m.Server, m.Tools)
	for _, db := range slices.Sorted(maps.Keys(m.Databases)) {
		for _, c := range slices.Sorted(maps.Keys(m.Databases[db])) {
			if only == "" || db == only {
				a.add(db, c, m.Databases[db][c])
			}
		}
	}
	if only == "" {
		a.add("admin", "system.version", 1)
	}
	if oplog {
		a.add("", "oplog", 0)
	}
	text := a.bytes()
	if m.Fault != "" {
		text = text[:len(text)*2/3]
	}
	for _, n := range a.spaces {
		say("writing `%s` to `archive on stdout`", n.name())
	}
	if _, err := os.Stdout.Write(text); err != nil {
		say("Failed: archive writer: error writing data to archive: %v", err)
		return 1
	}
	if m.Fault == "half" {
		say("Failed: error writing data for collection `%s` to disk: error reading collection: connection(%s[-4]) socket was unexpectedly closed: EOF", a.spaces[0].name(), m.Host)
		return 1
	}
	for _, n := range a.spaces {
		if n.db == "" {
			say("\tdumped 0 oplog entries")
			continue
		}
		say("done dumping `%s` (%s)", n.name(), documents(n.count))
	}
	return 0
}

func documents(n int) string {
	if n == 1 {
		return "1 document"
	}
	return fmt.Sprintf("%d documents", n)
}

func mongorestore(args []string) int {
	o := options("mongorestore", args, "version", "uri", "archive", "drop", "stopOnError", "oplogReplay")
	if _, asked := o["version"]; asked {
		fmt.Print("mongorestore version: 100.9.4\n")
		return 0
	}
	socket, err := url.PathUnescape(strings.TrimSuffix(strings.TrimPrefix(o["uri"], "mongodb://"), "/"))
	var conn net.Conn
	if err == nil {
		conn, err = net.Dial("unix", socket)
	}
	if err != nil {
		say("could not connect to server: server selection error: server selection timeout, current topology: { Type: Single, Servers: [{ Addr: %s, Last error: %v }, ] }", socket, err)
		return 1
	}
	defer conn.Close()
	counts, names, err := readArchive(os.Stdin)
	total := 0
	for _, name := range names {
		if name == ".oplog" {
			if _, replay := o["oplogReplay"]; replay {
				say("replaying oplog")
				say("applied 0 oplog entries")
			}
			continue
		}
		if strings.HasPrefix(name, "admin.") {
			continue
		}
		fmt.Fprintf(conn, "%d %s\n", counts[name], name)
		answer, aerr := bufio.NewReader(conn).ReadString('\n')
		if aerr != nil || answer != "ok\n" {
			say("Failed: %s: error restoring from archive on stdin: socket was unexpectedly closed: EOF", name)
			return 1
		}
		say("finished restoring `%s` (%s, 0 failures)", name, documents(counts[name]))
		total += counts[name]
	}
	if err != nil {
		say("Failed: %v", err)
	}
	say("%d document(s) restored successfully. 0 document(s) failed to restore.", total)
	if err != nil {
		return 1
	}
	return 0
}

// mongod takes what mongorestore brings, on a socket alone.
func mongod(args []string) int {
	var m mongo
	server("mongo", &m)
	if slices.Equal(args, []string{"--version"}) {
		fmt.Printf("db version v%s\nBuild Info: {\n    \"version\": \"%s\"\n}\n", m.Server, m.Server)
		return 0
	}
	got := map[string]string{}
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "--nounixsocket":
			got[args[i]] = "yes"
		case "--dbpath", "--bind_ip", "--wiredTigerCacheSizeGB":
			i++
			got[args[i-1]] = args[i]
		default:
			return fails(2, "Error parsing command line: unrecognised option '%s'\ntry 'mongod --help' for more information", args[i])
		}
	}
	if st, err := os.Stat(got["--dbpath"]); err != nil || !st.IsDir() {
		fmt.Printf(`{"t":{"$date":"2026-01-01T00:00:00.000+00:00"},"s":"E","c":"CONTROL","id":20557,"ctx":"initandlisten","msg":"DBException in initAndListen, terminating","attr":{"error":"NonExistentPath: Data directory %s not found."}}`+"\n", got["--dbpath"])
		return 100
	}
	listener, err := net.Listen("unix", got["--bind_ip"])
	if err != nil {
		return fails(48, "%v", err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fails(1, "%v", err)
		}
		go func() {
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				_, _ = io.WriteString(conn, "ok\n")
			}
		}()
	}
}
