// Command standin plays programs that cannot be had for tests: mongodump, mongorestore
// and mongod, sqlcmd of both kinds, expdp, impdp, sqlplus and rman. It is each of them by the name it
// is started under, and is linked to under all of these names in one folder
// (sourcetest.StandIns).
//
// It takes the arguments and files that the real program takes and no others, and says
// what that says, with its exit status: for the tools of MongoDB and for go-sqlcmd as
// their source texts have it, for the others as their manuals do. It is no proof that
// the real ones do the same; it holds what we give them against what is known of them.
//
// What the server behind a program holds is in a JSON file of the folder "servers"
// beside it. A password that stands in an argument, or in the environment where a
// program reads files, ends it with status 99.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	name := filepath.Base(os.Args[0])
	programs := map[string]func(args []string) int{
		"mongodump": mongodump, "mongorestore": mongorestore, "mongod": mongod,
		"sqlcmd": sqlcmd, "expdp": expdp, "impdp": impdp, "sqlplus": sqlplus, "rman": rman,
	}
	program, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "standin: no program is called %q\n", name)
		os.Exit(98)
	}
	os.Exit(program(os.Args[1:]))
}

// home is the folder that the program lies in.
func home() string {
	if strings.Contains(os.Args[0], "/") {
		return filepath.Dir(os.Args[0])
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, os.Args[0])); err == nil {
			return dir
		}
	}
	return "."
}

// server reads what a server holds.
func server(name string, into any) {
	text, err := os.ReadFile(filepath.Join(home(), "servers", name+".json"))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "standin: %v\n", err)
		os.Exit(98)
	}
}

// guard ends the program when a password can be seen by others.
func guard(password string, environment bool) {
	seen := os.Args[1:]
	if environment {
		seen = append(seen[:len(seen):len(seen)], os.Environ()...)
	}
	if password != "" && strings.Contains(strings.Join(seen, "\n"), password) {
		fmt.Fprintln(os.Stderr, "standin: the password is there for all to see")
		os.Exit(99)
	}
}

// fails says something on stderr and returns a status.
func fails(status int, format string, args ...any) int {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	return status
}
