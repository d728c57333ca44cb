package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/escrow"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// keysFolder lies beside each repository and holds its sealed key, so that one
// target and one custodian suffice to begin with.
const keysFolder = "saoluu-keys"

// Secured says how the key of one target was made to outlive this machine.
type Secured struct {
	Target string
	To     []string // custodians; none: a sheet was written
	Sheet  string   // file of the sheet that shows the key
	Beside error    // why the sealed key could not be put on the target; nil when it was
	Roomy  bool     // the target has room for it at all
}

// custodians returns those of the configuration in the order of their names.
func custodians(c *config.Config) []escrow.Custodian {
	var all []escrow.Custodian
	for _, name := range slices.Sorted(maps.Keys(c.Custodians)) {
		all = append(all, escrow.Custodian{Name: name, Title: c.Custodians[name].Title, Recipient: c.Custodians[name].Recipient})
	}
	return all
}

// sealedPath is where the sealed key of a target is kept.
func (r *Runner) sealedPath(target string) string {
	return StatePath(r.Config, "keys", "sealed", target+".age")
}

// sealedLedgerPath is where the sealed key of the ledger is kept.
func sealedLedgerPath(c *config.Config) string {
	return StatePath(c, "keys", "sealed", "site", "ledger.age")
}

// SecureKeys seals, or prints, the keys of all enrolled targets for which that was
// never done. Every target is tried.
func (r *Runner) SecureKeys(ctx context.Context) (done []Secured, err error) {
	known, err := r.Catalog.KeyStates(ctx, r.Now())
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(r.Config.Targets)) {
		state, err := r.Catalog.TargetState(ctx, name)
		if err != nil {
			return done, err
		}
		if state.Repository == "" || !known[name].First.IsZero() {
			continue
		}
		s, err := r.SecureKey(ctx, name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		done = append(done, s)
	}
	return done, errors.Join(problems...)
}

// SecureKey seals the key of a target to the custodians, or writes a sheet with it
// when there are none. The key was seen to open the repository just before.
func (r *Runner) SecureKey(ctx context.Context, name string) (Secured, error) {
	done := Secured{Target: name}
	op := fmt.Sprintf("secure the key of target %q", name)
	p, err := r.place(ctx, name)
	if err != nil {
		return done, err
	}
	state, err := r.Catalog.TargetState(ctx, name)
	if err != nil {
		return done, err
	}
	if state.Repository == "" {
		return done, fault.New(fault.Usage, op, errors.New("it has no repository yet"), "run \"saoluu init\"")
	}
	// Not the daemon's shortcut: what is sealed has to be seen to open it.
	opened, err := r.Engine.CatConfig(ctx, ownKey(p))
	if err == nil && opened.ID != state.Repository {
		err = fault.New(fault.WrongTarget, op, fmt.Errorf("it holds repository %.10s, and %.10s was enrolled", opened.ID, state.Repository), "find out who replaced it")
	}
	if err != nil {
		return done, err
	}
	key, err := r.currentKey(ctx, p)
	if err == nil {
		err = r.placeKey(ctx, p)
	}
	if err != nil {
		return done, err
	}
	event := catalog.KeySealed{Target: name, Repository: state.Repository, Key: key}
	if len(r.Config.Custodians) == 0 {
		text, _, err := r.WriteSheets(ctx, name, r.Config.Targets[name].Password == "", r.sheetsFolder())
		if err != nil {
			return done, err
		}
		done.Sheet, event.Sheet = text, true
		_, err = r.Catalog.Append(ctx, event)
		return done, err
	}
	if err := r.seal(p.target.Repo().PasswordFile, r.sealedPath(name)); err != nil {
		return done, err
	}
	if err := r.seal(LedgerKeyPath(r.Config), sealedLedgerPath(r.Config)); err != nil {
		return done, err
	}
	for _, c := range custodians(r.Config) {
		done.To = append(done.To, c.Name)
		event.Recipients = append(event.Recipients, catalog.SealedTo{Custodian: c.Name, Fingerprint: escrow.Fingerprint(c.Recipient)})
	}
	event.Beside, done.Beside = r.keepBeside(ctx, p, state.Repository)
	_, done.Roomy = p.target.(targets.Keeper)
	_, err = r.Catalog.Append(ctx, event)
	return done, err
}

// ownKey is a target's repository to be opened with its own key, not with the
// daemon's.
func ownKey(p place) restic.Repo {
	repo := p.target.Repo()
	repo.Fast = nil
	return repo
}

// currentKey returns restic's id of the repository's own key.
func (r *Runner) currentKey(ctx context.Context, p place) (string, error) {
	keys, err := r.Engine.Keys(ctx, ownKey(p))
	for _, k := range keys {
		if k.Current {
			return k.ID, err
		}
	}
	return "", err
}

// seal encrypts a key file to the custodians.
func (r *Runner) seal(from, to string) error {
	secret, err := os.ReadFile(from)
	if err != nil {
		return fault.New(fault.Failed, "seal a key", err, "check that the key file is there")
	}
	sealed, err := escrow.Seal(secret, custodians(r.Config))
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(path.Dir(to), 0o700); err != nil {
		return fault.New(fault.Failed, "seal a key", err, "check paths.state")
	}
	if err := durable.WriteFile(to, sealed, 0o600); err != nil {
		return fault.New(fault.Failed, "seal a key", err, "check paths.state")
	}
	return nil
}

// keepBeside puts the sealed key beside its repository, unless it lies there.
func (r *Runner) keepBeside(ctx context.Context, p place, repository string) (bool, error) {
	keeper, can := p.target.(targets.Keeper)
	if !can {
		return false, nil
	}
	sealed, err := os.ReadFile(r.sealedPath(p.name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := p.target.Ready(ctx); err != nil && fault.KindOf(err) != fault.NoSpace {
		return false, err
	}
	there, err := keeper.Kept(ctx, keysFolder)
	if err == nil && bytes.Equal(there[repository+".age"], sealed) {
		return true, nil
	}
	err = keeper.Keep(ctx, path.Join(keysFolder, repository+".age"), sealed)
	return err == nil, err
}

// sheetsFolder is where sheets go that init writes.
func (r *Runner) sheetsFolder() string { return StatePath(r.Config, "keys", "sheets") }

// WriteSheets writes the recovery sheet of a target as text and as a page, for its
// owner's eyes only, and returns their names. With withKey it shows the key.
func (r *Runner) WriteSheets(ctx context.Context, name string, withKey bool, dir string) (text, page string, err error) {
	s, err := r.sheet(ctx, name, withKey)
	if err != nil {
		return "", "", err
	}
	op := fmt.Sprintf("write the recovery sheet of %q", name)
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return "", "", fault.New(fault.Failed, op, err, "name another folder")
	}
	var asText, asPage bytes.Buffer
	if err := errors.Join(s.Text(&asText), s.HTML(&asPage)); err != nil {
		return "", "", fault.New(fault.Failed, op, err, "")
	}
	text, page = path.Join(dir, name+".txt"), path.Join(dir, name+".html")
	err = errors.Join(durable.WriteFile(text, asText.Bytes(), 0o600), durable.WriteFile(page, asPage.Bytes(), 0o600))
	if err != nil {
		return "", "", fault.New(fault.Failed, op, err, "name another folder")
	}
	return text, page, nil
}

// sheet gathers what stands on the sheet of a target.
func (r *Runner) sheet(ctx context.Context, name string, withKey bool) (escrow.Sheet, error) {
	p, err := r.place(ctx, name)
	if err != nil {
		return escrow.Sheet{}, err
	}
	state, err := r.Catalog.TargetState(ctx, name)
	if err != nil {
		return escrow.Sheet{}, err
	}
	if state.Repository == "" {
		return escrow.Sheet{}, fault.New(fault.Usage, fmt.Sprintf("target %q", name), errors.New("it has no repository yet"), "run \"saoluu init\"")
	}
	t := r.Config.Targets[name]
	s := escrow.Sheet{
		Site: r.Config.Site.Name, Target: name, Type: t.Type, Place: t.Place(), Address: t.Repository(), Repository: state.Repository,
		Made: r.Now().In(r.Config.Site.Location).Format("2006-01-02 15:04"),
	}
	if t.Password != "" {
		s.Reference = "saoluu.toml, targets." + name + ".password = " + t.Password.String()
	} else {
		s.Reference = r.keyPath(name)
	}
	sealed, err := os.ReadFile(r.sealedPath(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fault.New(fault.Failed, "read the sealed key", err, "")
	}
	s.Sealed = strings.TrimSpace(string(sealed))
	if s.Sealed != "" {
		for _, c := range custodians(r.Config) {
			s.Custodians = append(s.Custodians, escrow.Holder{Name: c.Name, Title: c.Title, Fingerprint: escrow.Fingerprint(c.Recipient)})
		}
	}
	if withKey {
		key, err := os.ReadFile(p.target.Repo().PasswordFile)
		if err != nil {
			return s, fault.New(fault.Failed, "read the key", err, "")
		}
		s.Key = strings.TrimSpace(string(key))
	}
	return s, nil
}

// Ages after which somebody has to look again.
const (
	drillAge = 366 * 24 * time.Hour // requirements 16.1a-2: no recovery key test in 12 months is a warning
	selfAge  = 31 * 24 * time.Hour
)

// A Trouble is what stands against relying on a target's key or on the copy of the
// state on it.
type Trouble struct {
	Failing bool
	Why     string
}

// KeyTroubles returns, by target of the configuration, what somebody has to do
// about keys and the copies of the state. It reads the catalog alone.
func KeyTroubles(ctx context.Context, c *config.Config, cat *catalog.Catalog, now time.Time) (map[string][]Trouble, error) {
	keys, err := cat.KeyStates(ctx, now)
	if err != nil {
		return nil, err
	}
	selves, err := cat.SelfStates(ctx, now)
	if err != nil {
		return nil, err
	}
	found := map[string][]Trouble{}
	for name := range c.Targets {
		state, err := cat.TargetState(ctx, name)
		if err != nil {
			return nil, err
		}
		if state.Repository == "" {
			continue
		}
		found[name] = append(keyTroubles(c, keys[name], state.Repository, now), selfTroubles(selves[name], now)...)
	}
	return found, nil
}

func keyTroubles(c *config.Config, k catalog.KeyState, repository string, now time.Time) (found []Trouble) {
	warn := func(format string, args ...any) { found = append(found, Trouble{Why: fmt.Sprintf(format, args...)}) }
	if why, whole := shredTrouble(k, repository); why != "" {
		found = append(found, Trouble{Failing: true, Why: why})
		if whole {
			return found
		}
	}
	sealed := k.Sealed.Event
	switch {
	case k.First.IsZero():
		warn("its key has neither been sealed nor printed: run \"saoluu key seal\"")
	case !maps.Equal(sealedTo(sealed), configured(c)):
		warn("the custodians changed since its key was sealed: run \"saoluu key seal\"")
	case sealed.Repository != repository:
		warn("its repository changed since its key was sealed: run \"saoluu key seal\"")
	case len(c.Custodians) > 0:
		last := k.First
		if k.Drilled.At.After(last) {
			last = k.Drilled.At
		}
		if now.Sub(last) > drillAge {
			warn("no custodian has tried the sealed key for a year: run \"saoluu key drill\"")
		}
	}
	if last := lastTry(k); !last.At.IsZero() && !last.Event.OK && last.At.After(k.Sealed.At) {
		warn("the last try of its sealed key failed: %s", last.Event.Error)
	}
	left, kept := k.Remaining()
	if len(left) > 0 {
		warn("%s it: whoever has one can read it", count(len(left), "old key still opens", "old keys still open"))
	}
	if len(kept) > 0 {
		warn("the storage keeps %s", keptKeys(kept, "old key", "old keys"))
	}
	return found
}

// lastTry is the newest drill, however it went; zero if there was none.
func lastTry(k catalog.KeyState) (last catalog.Dated[catalog.EscrowDrilled]) {
	if n := len(k.Tries); n > 0 {
		last = k.Tries[n-1]
	}
	return last
}

func selfTroubles(s catalog.SelfState, now time.Time) []Trouble {
	switch {
	case s.Tested.Event.Verdict == catalog.VerdictFailed:
		return []Trouble{{Failing: true, Why: "the copy of the state on it did not come back whole"}}
	case s.Saved.At.IsZero():
		return nil // a new target says that it was never anchored
	case s.Passed.IsZero():
		return []Trouble{{Why: "the copy of the state on it has never been brought back"}}
	case now.Sub(s.Passed) > selfAge:
		return []Trouble{{Why: "the copy of the state on it was last brought back " + s.Passed.UTC().Format(time.DateOnly)}}
	}
	return nil
}

// sealedTo and configured are the public keys of custodians by name.
func sealedTo(e catalog.KeySealed) map[string]string {
	m := map[string]string{}
	for _, to := range e.Recipients {
		m[to.Custodian] = to.Fingerprint
	}
	return m
}

func configured(c *config.Config) map[string]string {
	m := map[string]string{}
	for _, to := range custodians(c) {
		m[to.Name] = escrow.Fingerprint(to.Recipient)
	}
	return m
}
