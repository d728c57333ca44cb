package jobs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// removable makes the target of a medium, as the register has it.
func (r *Runner) removable(ctx context.Context, name string, t config.Target, id string, said targets.Declared, repo restic.Repo) (targets.Target, error) {
	register, _, err := r.Catalog.Media(ctx, r.Now())
	if err != nil {
		return nil, err
	}
	verifier, err := r.verifier(ctx)
	if err != nil {
		return nil, err
	}
	mount := r.mountOf(t)
	medium := register[t.Medium]
	m := &targets.Removable{
		Local: targets.Local{
			Name: name, Path: filepath.Join(mount, config.MediumFolder, t.Path), Site: r.Config.Site.Code, ID: id, Declared: said,
			ReserveBytes: int64(t.Reserve), Repository: repo,
		},
		Medium: t.Medium, MediumID: medium.Registered.Event.ID, Filesystem: medium.Registered.Event.Filesystem,
		Label: t.Label, Secrecy: t.Secrecy, Mount: mount, Managed: t.Mount == "", Verifier: verifier,
		LockFile: StatePath(r.Config, "locks", "medium-"+t.Medium), Away: whereabouts(medium),
	}
	m.Repository.URL, m.Repository.Mount = m.Path, mount
	switch of := medium.Registered.Event.Target; {
	case of != "" && of != name:
		m.Withdrawn = fmt.Sprintf("it belongs to target %q", of)
	case of != "" && !medium.Usable():
		m.Withdrawn = "it is " + medium.Stage()
	}
	return m, nil
}

// whereabouts says in a few words where a medium was last handed to.
func whereabouts(m catalog.MediumState) string {
	if m.Handed.At.IsZero() {
		return "plug it in; nobody has said where it is (\"saoluu medium hand\")"
	}
	return fmt.Sprintf("plug it in: %s has it, at %s", m.Handed.Event.To, m.Handed.Event.Place)
}

// verifier returns the public half of the key that opened the ledger.
func (r *Runner) verifier(ctx context.Context) (string, error) {
	first, err := r.Catalog.Entry(ctx, 0)
	if err != nil {
		return "", err
	}
	event, err := first.Decode()
	if err != nil {
		return "", err
	}
	opened, ok := event.(catalog.SiteOpened)
	if !ok {
		return "", fault.New(fault.Damaged, "read the ledger", errors.New("its first entry does not open a site"), "run \"saoluu ledger verify\"")
	}
	return opened.Key, nil
}

// targetOf returns the configured target of a medium.
func (r *Runner) targetOf(medium string) (string, error) {
	for name, t := range r.Config.Targets {
		if t.Type == "removable" && t.Medium == medium {
			return name, nil
		}
	}
	return "", fault.New(fault.Usage, fmt.Sprintf("medium %q", medium), errors.New("no target of the configuration has it"),
		fmt.Sprintf(`add a target with type = "removable" and medium = %q`, medium))
}

// AddMedium enters a disk into the register under the name in about, and prepares
// the target that has this medium. What is needed of about besides is Type, Owner
// and By. What an interrupted call left is taken up.
func (r *Runner) AddMedium(ctx context.Context, device string, about catalog.MediumRegistered) (Enrolled, error) {
	name, err := r.targetOf(about.Medium)
	if err != nil {
		return Enrolled{}, err
	}
	release, err := r.enliven("medium-" + newID(r.Now())) // nobody unmounts it meanwhile
	if err != nil {
		return Enrolled{}, err
	}
	defer release()
	op := fmt.Sprintf("register medium %q", about.Medium)
	if err := inOneLine(op, about.Owner, about.Model, about.Serial); err != nil {
		return Enrolled{}, err
	}
	if strings.EqualFold(about.Owner, "private") {
		const why = "it is a private device"
		return Enrolled{}, errors.Join(fault.New(fault.Refused, op, errors.New(why), "use a device of the agency (39/2024/QĐ-UBND, Điều 9.3)"),
			r.refuseMedium(ctx, catalog.MediumRefused{Medium: about.Medium, Serial: about.Serial, Reason: why}))
	}
	register, _, err := r.Catalog.Media(ctx, r.Now())
	if err != nil {
		return Enrolled{}, err
	}
	state, err := r.Catalog.TargetState(ctx, name)
	if err != nil {
		return Enrolled{}, err
	}
	for _, m := range register {
		switch e := m.Registered.Event; {
		case e.Medium == about.Medium && state.ID != "":
			return Enrolled{}, fault.New(fault.Refused, op, errors.New("it is in the register already"), "give another disk a name of its own")
		case e.Target == name && e.Medium != about.Medium:
			return Enrolled{}, fault.New(fault.Refused, op, fmt.Errorf("target %q is that of medium %q for ever, because its copies lie there", name, e.Medium),
				"give the new medium a target of its own")
		}
	}
	if err := r.writeHeader(ctx, name, device, about, register[about.Medium].Registered.Event.ID != ""); err != nil {
		return Enrolled{}, err
	}
	like, err := r.pattern(ctx)
	if err != nil {
		return Enrolled{}, err
	}
	made, err := r.enroll(ctx, name, like)
	if err == nil && made.Adopted {
		err = r.adoptMedium(ctx, name)
	}
	if err != nil {
		return made, err
	}
	return made, errors.Join(r.see(ctx, about.Medium, true), r.SetInventory(ctx))
}

// writeHeader registers the disk itself and records it, or that it was refused.
func (r *Runner) writeHeader(ctx context.Context, target, device string, about catalog.MediumRegistered, known bool) error {
	p, err := r.place(ctx, target)
	if err != nil {
		return err
	}
	m := p.target.(*targets.Removable)
	signer, err := r.signer(ctx)
	if err != nil {
		return err
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	header, drive, err := m.Register(ctx, device, targets.MediumHeader{
		Medium: m.Medium, ID: hex.EncodeToString(id), Site: m.Site, Agency: r.Config.Site.Name,
		Label: m.Label, Secrecy: m.Secrecy, Registered: r.Now(),
	}, signer)
	if err != nil {
		if kind := fault.KindOf(err); kind == fault.Refused || kind == fault.WrongTarget {
			err = errors.Join(err, r.refuseMedium(ctx, catalog.MediumRefused{
				Medium: about.Medium, Filesystem: drive.Filesystem, Model: drive.Model, Serial: drive.Serial, Reason: fault.Public(err),
			}))
		}
		return err
	}
	if known {
		return nil
	}
	about.Target, about.ID, about.Filesystem, about.Format = target, header.ID, header.Filesystem, drive.Format
	about.Bytes, about.Label, about.Secrecy = drive.Bytes, header.Label, header.Secrecy
	if about.Model == "" {
		about.Model = drive.Model
	}
	if about.Serial == "" {
		about.Serial = drive.Serial
	}
	_, err = r.Catalog.Append(context.WithoutCancel(ctx), about)
	return err
}

// pattern returns an enrolled repository that is ready, for others to share its
// chunker parameters; nil when there is none.
func (r *Runner) pattern(ctx context.Context) (*place, error) {
	for name := range r.Config.Targets {
		state, err := r.Catalog.TargetState(ctx, name)
		if err != nil {
			return nil, err
		}
		if state.ID == "" {
			continue
		}
		if p, err := r.place(ctx, name); err == nil && p.target.Ready(ctx) == nil {
			return &p, nil
		}
	}
	return nil, nil
}

// registered returns a medium of the register.
func (r *Runner) registered(ctx context.Context, op, medium string) (catalog.MediumState, error) {
	register, _, err := r.Catalog.Media(ctx, r.Now())
	if err != nil {
		return catalog.MediumState{}, err
	}
	m := register[medium]
	if m.Registered.At.IsZero() {
		return m, fault.New(fault.Usage, fmt.Sprintf("%s %q", op, medium), errors.New("it is not in the register"), "run \"saoluu medium list\" to see the register")
	}
	return m, nil
}

// longestWords is how many characters a text of the custody log may have: it is
// shown in one line.
const longestWords = 500

// inOneLine refuses texts for the register that a line of it cannot show.
func inOneLine(op string, texts ...string) error {
	for _, t := range texts {
		switch {
		case !utf8.ValidString(t) || strings.ContainsFunc(t, func(c rune) bool { return !unicode.IsPrint(c) }):
			return fault.New(fault.Usage, op, fmt.Errorf("%q is more than a line of text", shorten(t)), "write it in one line")
		case utf8.RuneCountInString(t) > longestWords:
			return fault.New(fault.Usage, op, fmt.Errorf("%q has more than %d characters", shorten(t), longestWords), "write it shorter")
		}
	}
	return nil
}

func shorten(text string) string {
	const enough = 40
	if r := []rune(text); len(r) > enough {
		return string(r[:enough]) + "…"
	}
	return text
}

// HandMedium writes a line into the custody log.
func (r *Runner) HandMedium(ctx context.Context, e catalog.MediumHanded) error {
	m, err := r.registered(ctx, "hand over medium", e.Medium)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("hand over medium %q", e.Medium)
	if err := inOneLine(op, e.To, e.Place, e.Seal, e.Note); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(e.To) == "" || strings.TrimSpace(e.Place) == "":
		return fault.New(fault.Usage, op, errors.New("who takes it, or where to, is missing"), "say --to and --place")
	case m.Stage() == catalog.StageLost || ended(m.Stage()):
		return fault.New(fault.Refused, op, fmt.Errorf("it is %s", m.Stage()), "")
	}
	if e.DueBack != "" {
		if _, err := calendar.ParseDate(e.DueBack); err != nil {
			return fault.New(fault.Usage, op, err, "write --due-back as 2026-05-31")
		}
	}
	_, err = r.Catalog.Append(ctx, e)
	return err
}

// InspectMedium records that somebody looked at a medium where it is kept. One that
// is not whole is a finding, told as an error of kind Verification.
func (r *Runner) InspectMedium(ctx context.Context, e catalog.MediumInspected) error {
	m, err := r.registered(ctx, "inspect medium", e.Medium)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("inspect medium %q", e.Medium)
	if err := inOneLine(op, e.Place, e.Seal, e.Note); err != nil {
		return err
	}
	if e.Place == "" {
		e.Place = m.Handed.Event.Place
	}
	sealed := m.Handed.Event.Seal
	if e.Seal != "" && sealed != "" && e.Seal != sealed {
		e.Intact = false
		e.Note = strings.TrimSpace(fmt.Sprintf("seal %s was put on, seal %s was found. %s", sealed, e.Seal, e.Note))
	}
	if _, err := r.Catalog.Append(ctx, e); err != nil {
		return err
	}
	if !e.Intact {
		return fault.New(fault.Verification, op, errors.New(strings.TrimSpace("it is not as it was put away. "+e.Note)),
			"plug it in, run \"saoluu upkeep\" and \"saoluu test\" on its target, and find out who had it")
	}
	return nil
}

// see records that a medium is, or is no longer, plugged in.
func (r *Runner) see(ctx context.Context, medium string, plugged bool) error {
	m, err := r.registered(ctx, "look for medium", medium)
	if err != nil || m.Seen.Event.Plugged == plugged && !m.Seen.At.IsZero() {
		return err
	}
	_, err = r.Catalog.Append(context.WithoutCancel(ctx), catalog.MediumSeen{Medium: medium, Plugged: plugged, Host: r.Host})
	return err
}

// refusalHolds is for how long the same refusal is not recorded again.
const refusalHolds = 24 * time.Hour

// refuseMedium records that a disk must not be used, once a day.
func (r *Runner) refuseMedium(ctx context.Context, e catalog.MediumRefused) error {
	_, before, err := r.Catalog.Media(ctx, r.Now())
	if err != nil {
		return err
	}
	if slices.ContainsFunc(before, func(d catalog.MediumRefusal) bool { return d.Event == e && r.Now().Sub(d.At) < refusalHolds }) {
		return nil
	}
	_, err = r.Catalog.Append(context.WithoutCancel(ctx), e)
	return err
}
