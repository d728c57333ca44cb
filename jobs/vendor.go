package jobs

import (
	"errors"
	"slices"

	"saoluu/config"
	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/verify"
)

// vendor makes a source that is read by programs of the engine's maker.
func (r *Runner) vendor(job config.Job) (sources.Source, error) {
	s := job.Source
	password, err := r.password(s)
	if err != nil {
		return nil, err
	}
	switch s.Type {
	case "mongodb":
		return &sources.MongoDB{
			Host: s.Host, Port: s.Port, User: s.User, AuthDatabase: s.AuthDatabase, Password: password,
			Database: s.Database, Databases: s.Databases, All: s.All, Oplog: s.Oplog,
			SSLMode: s.SSLMode, CA: s.CA, Bin: s.Bin, Now: r.Now,
		}, nil
	case "sqlserver":
		return &sources.SQLServer{
			Host: s.Host, Port: s.Port, User: s.User, Password: password, TicketCache: s.TicketCache,
			Database: s.Database, Databases: s.Databases, All: s.All, Folder: s.Folder, ServerFolder: s.ServerFolder,
			SSLMode: s.SSLMode, Bin: s.Bin, FactsMode: s.Facts, Now: r.Now,
		}, nil
	default:
		return &sources.Oracle{
			Method: s.Method, Host: s.Host, Port: s.Port, Database: s.Database, User: s.User, Password: password,
			Schemas: s.Schemas, All: s.All, Directory: s.Directory, Folder: s.Folder, Name: job.Name,
			Bin: s.Bin, FactsMode: s.Facts, Now: r.Now,
		}, nil
	}
}

// isVendor tells the kinds of source that vendor makes.
func isVendor(kind string) bool {
	return slices.Contains([]string{"mongodb", "sqlserver", "oracle"}, kind)
}

// vendorTest says beforehand that restore tests of a job will prove nothing: nobody is
// asked who can tell.
func vendorTest(job config.Job) error {
	if slices.ContainsFunc(job.Test.Checks, func(c config.Check) bool { return len(c.Run) > 0 }) {
		return nil
	}
	if job.Source.Type == "mongodb" {
		var dirs []string
		if job.Test.Bin != "" {
			dirs = []string{job.Test.Bin}
		}
		for _, name := range []string{"mongod", "mongorestore"} {
			if _, err := command.LookPath(name, dirs...); err != nil {
				return fault.New(fault.Unknown, "", err, verify.MongoServer)
			}
		}
		return nil
	}
	return fault.New(fault.Unknown, "", errors.New("nothing but the engine itself can tell whether its backups restore"),
		"add a check with run that restores them on a server for tests: see docs/how-to/other-databases.md")
}
