package verify

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"saoluu/sources"
)

// OnlyChecks reports whether the facts say nothing of any data, because none were kept
// or there was no time to read them: a test then hangs on the job's own checks, and one
// such as SELECT 1 is met whatever was lost. That a database is empty is said of it.
func OnlyChecks(facts []sources.Fact) bool {
	planted, unread := map[string]bool{}, len(facts) == 0
	for _, f := range facts {
		planted[f.Part+"/"+f.Of] = planted[f.Part+"/"+f.Of] || f.Kind == sources.FactCanary
		unread = unread || f.Kind == sources.FactUnread
	}
	return unread && !slices.ContainsFunc(facts, func(f sources.Fact) bool {
		switch f.Kind {
		case sources.FactSHA256, sources.FactImage:
			return true
		case sources.FactRows, sources.FactLeast:
			return f.Value != "0" && !planted[f.Part+"/"+f.Of]
		}
		return false
	})
}

// control damages the restored data on purpose and makes the same comparison
// again, with facts and checks. It must fail: a comparison that cannot is no
// proof, and its pass is withheld. Where there are no facts all data are taken
// away, and one of the checks must miss them.
func (x *examination) control(ctx context.Context) error {
	facts := x.request.Facts
	if OnlyChecks(facts) {
		facts = nil
	}
	how, err := x.subject.damage(ctx, x.request.Seed, facts)
	if err != nil {
		return err
	}
	if early := x.result.Control; early != nil && (!early.Caught || how == "") {
		if !early.Caught {
			x.result.Verdict = Unknown
			x.detail("negative control: the damage (%s) was not noticed", early.Damage)
		}
		return nil
	}
	x.result.Control = &ControlResult{Damage: how}
	if how == "" {
		x.result.Control.Damage = "none: there is nothing to damage"
		x.result.Verdict = Unknown
		x.detail("negative control: neither facts nor checks name anything that could be damaged")
		return nil
	}
	again := *x
	again.result, again.request.Facts = Result{}, facts
	if err := again.examine(ctx); err != nil {
		return err
	}
	for _, a := range again.result.Assertions {
		if !a.OK && a.decides() {
			x.result.Control.Caught, x.result.Control.By = true, a.Name
			return nil
		}
	}
	x.result.Verdict = Unknown
	x.detail("negative control: the damage (%s) was not noticed", how)
	return nil
}

// examine compares once more; damage found on the way is what is hoped for.
func (x *examination) examine(ctx context.Context) error {
	steps := []func(context.Context) error{x.digestsAgain, x.compare, x.checks}
	if len(x.request.Facts) == 0 {
		steps = steps[2:]
	}
	for _, step := range steps {
		if slices.ContainsFunc(x.result.Assertions, func(a Assertion) bool { return !a.OK && a.decides() }) {
			return nil // noticed: what a service makes of the damage would teach nothing more
		}
		err := step(ctx)
		var found *finding
		if errors.As(err, &found) {
			x.fail(*found)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// digestsAgain holds the streams of a source without facts against their digests.
func (x *examination) digestsAgain(ctx context.Context) error {
	f, ok := x.subject.(*files)
	if !ok {
		return nil
	}
	return x.digests(ctx, f.parts)
}

// damage deletes one row of one table that had rows or, when there is none,
// drops a table, in the first database that has something to damage. Triggers and
// foreign keys sleep meanwhile. Without facts it deletes all rows.
func (d *drill) damage(ctx context.Context, seed string, want []sources.Fact) (string, error) {
	return damageFirst(d.databases, want, func() ([]sources.Fact, error) { return d.facts(ctx, nil) },
		func(db loadedDatabase, want []sources.Fact, all bool) (string, error) {
			return d.damageOne(ctx, db, seed, want, all)
		})
}

// damageFirst damages the first of several databases that has something to damage,
// or, without facts to go by, all of them by what is found there. It says what was
// done; "" when there was nothing.
func damageFirst(databases []loadedDatabase, want []sources.Fact, find func() ([]sources.Fact, error),
	damage func(db loadedDatabase, want []sources.Fact, all bool) (string, error)) (string, error) {
	all := len(want) == 0
	if all {
		var err error
		if want, err = stripped(find()); err != nil {
			return "", err
		}
	}
	done := ""
	for _, db := range databases {
		how, err := damage(db, want, all)
		if err != nil || how != "" && !all {
			return how, err
		}
		done = cmp.Or(how, done)
	}
	return done, nil
}

func (d *drill) damageOne(ctx context.Context, db loadedDatabase, seed string, want []sources.Fact, all bool) (string, error) {
	conn, err := d.cluster.connect(ctx, d.cluster.superuser, db.name)
	if err != nil {
		return "", d.serverError(ctx, "connect to", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SET session_replication_role = replica"); err != nil {
		return "", d.serverError(ctx, "damage", err)
	}
	t := tablesOf(slices.DeleteFunc(slices.Clone(want), func(f sources.Fact) bool { return !strings.HasPrefix(f.Of, `"`) }), db.part, seed)
	exec := func(statement, table string) (bool, error) {
		done, err := conn.Exec(ctx, strings.ReplaceAll(statement, "TABLE_NAME", table))
		if err != nil {
			return false, context.Cause(ctx)
		}
		return done.RowsAffected() > 0 || strings.HasPrefix(statement, "DROP"), nil
	}
	if all {
		return strip(t, exec, "DELETE FROM ONLY TABLE_NAME", "DROP TABLE TABLE_NAME CASCADE")
	}
	return spoil(t, exec, "DELETE FROM ONLY TABLE_NAME WHERE ctid = (SELECT ctid FROM ONLY TABLE_NAME LIMIT 1)", "DROP TABLE TABLE_NAME CASCADE")
}

// stripped keeps of the facts found in restored data those of tables to strip:
// the ones with rows, if there are any, in whichever part.
func stripped(found []sources.Fact, err error) ([]sources.Fact, error) {
	full := func(f sources.Fact) bool { return f.Kind == sources.FactRows && f.Value != "0" }
	if slices.ContainsFunc(found, full) {
		found = slices.DeleteFunc(found, func(f sources.Fact) bool { return !full(f) })
	}
	return found, err
}

// strip deletes the rows of all tables or, when none has any, drops them, and
// says what it did.
func strip(t tables, exec func(statement, table string) (bool, error), deletion, drop string) (string, error) {
	list, statement, how := t.full, deletion, "all rows of all tables deleted"
	if len(list) == 0 {
		list, statement, how = t.empty, drop, "all empty tables dropped"
	}
	any := false
	for _, table := range list {
		done, err := exec(statement, table)
		if err != nil {
			return "", err
		}
		any = any || done
	}
	if !any {
		how = ""
	}
	return how, nil
}
