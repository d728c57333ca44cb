package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/targets"
)

// removables lists the targets on media, by name.
func (r *Runner) removables() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r.Config.Targets)) {
		if r.onMedium(name) {
			names = append(names, name)
		}
	}
	return names
}

// onMedium reports whether a target lies on a medium that is plugged in now and then.
func (r *Runner) onMedium(target string) bool { return r.Config.Targets[target].Type == "removable" }

// LookForMedia records which media of the register came and went since somebody
// last looked, and which disks were plugged in that are not in it. It returns the
// targets whose medium came. With plan, each of them gets a slot for its upkeep, now:
// what it lacks is then copied, read back and looked after as on any night, and
// taken up again if it is cut off.
func (r *Runner) LookForMedia(ctx context.Context, plan bool) (arrived []string, err error) {
	names := r.removables()
	if len(names) == 0 {
		return nil, nil
	}
	drives, err := targets.Drives(ctx)
	if err != nil {
		return nil, err
	}
	register, _, err := r.Catalog.Media(ctx, r.Now())
	if err != nil {
		return nil, err
	}
	there, known := map[string]bool{}, map[string]bool{}
	for _, d := range drives {
		there[d.Filesystem] = true
	}
	var events []catalog.Event
	for _, name := range slices.Sorted(maps.Keys(register)) {
		m := register[name]
		e := m.Registered.Event
		known[e.Filesystem] = true
		if there[e.Filesystem] == m.Seen.Event.Plugged {
			continue
		}
		events = append(events, catalog.MediumSeen{Medium: name, Plugged: there[e.Filesystem], Host: r.Host})
		if there[e.Filesystem] && m.Usable() && slices.Contains(names, e.Target) {
			arrived = append(arrived, e.Target)
		}
	}
	if plan && len(arrived) > 0 {
		slots, err := r.upkeepNow(ctx, arrived)
		if err != nil {
			return nil, err
		}
		events = append(events, slots)
	}
	if len(events) > 0 {
		if _, err := r.Catalog.Append(ctx, events...); err != nil {
			return nil, err
		}
	}
	return arrived, r.refuseStrangers(ctx, drives, known)
}

// upkeepNow plans the upkeep of targets for this instant.
func (r *Runner) upkeepNow(ctx context.Context, names []string) (catalog.SlotsPlanned, error) {
	until, err := r.Catalog.PlannedUntil(ctx)
	planned := catalog.SlotsPlanned{Until: until}
	for _, name := range names {
		planned.Slots = append(planned.Slots, catalog.Slot{Job: name, Action: catalog.ActionUpkeep, Due: r.Now().UTC()})
	}
	return planned, err
}

// refuseStrangers records external disks that are not in the register. Nothing is
// read from them.
func (r *Runner) refuseStrangers(ctx context.Context, drives []targets.Drive, known map[string]bool) error {
	var problems []error
	for _, d := range drives {
		if d.External && !known[d.Filesystem] {
			problems = append(problems, r.refuseMedium(ctx, catalog.MediumRefused{Filesystem: d.Filesystem, Model: d.Model, Serial: d.Serial, Reason: "not in the register"}))
		}
	}
	return errors.Join(problems...)
}

// away reports whether a target's medium is not plugged in, and says where it is.
func (r *Runner) away(ctx context.Context, to place) (where string, err error) {
	if !r.onMedium(to.name) {
		return "", nil
	}
	err = to.target.Ready(ctx)
	switch fault.KindOf(err) {
	case fault.Absent:
		return strings.Join([]string{err.Error(), fault.HintOf(err)}, "; "), nil
	case fault.WrongTarget:
		m := to.target.(*targets.Removable)
		return "", errors.Join(err, r.refuseMedium(ctx, catalog.MediumRefused{Medium: m.Medium, Filesystem: m.Filesystem, Reason: fault.Public(err)}))
	}
	return "", nil // what else is wrong is told by whoever uses it
}

// waive closes the upkeep slots of a medium that is away.
func (r *Runner) waive(ctx context.Context, target, where string, t Trigger) error {
	if t.Due == nil {
		return nil
	}
	closed := catalog.SlotsClosed{State: catalog.SlotWaived, Reason: where}
	for _, due := range append(slices.Clone(t.Covers), *t.Due) {
		closed.Slots = append(closed.Slots, catalog.Slot{Job: target, Action: catalog.ActionUpkeep, Due: due})
	}
	_, err := r.Catalog.Append(ctx, closed)
	return err
}

// begin notes that a medium is in use from now on.
func (r *Runner) begin(ctx context.Context, target string) error {
	if !r.onMedium(target) {
		return nil
	}
	name := r.Config.Targets[target].Medium
	m, err := r.registered(ctx, "medium", name)
	if err != nil {
		return err
	}
	problems := []error{r.see(ctx, name, true)}
	if m.Stage() == catalog.StageNew {
		_, err := r.Catalog.Append(ctx, catalog.MediumStaged{Medium: name, Stage: catalog.StageInUse, By: "saoluu"})
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// An Ejected medium is written out and unmounted. Still says where it is mounted by
// somebody else: it is safe to remove only when that is empty.
type Ejected struct {
	Target, Medium string
	Still          []string
}

// EjectIdle unmounts the media that saoluu mounted and nobody uses: no run, test,
// restore or upkeep is under way on this machine.
func (r *Runner) EjectIdle(ctx context.Context) (done []Ejected, err error) {
	var problems []error
	for _, name := range r.removables() {
		t := r.Config.Targets[name]
		mounted, err := mountinfo.Mounted(StatePath(r.Config, "media", t.Medium))
		if err != nil || !mounted || t.Mount != "" {
			continue // nothing of ours to take away
		}
		e, err := r.Eject(ctx, name)
		switch {
		case fault.KindOf(err) == fault.Locked, fault.KindOf(err) == fault.Absent: // somebody uses it, or pulled it out
		case err != nil:
			problems = append(problems, err)
		default:
			done = append(done, e)
		}
	}
	return done, errors.Join(problems...)
}

// Eject writes a medium out and unmounts it.
func (r *Runner) Eject(ctx context.Context, target string) (Ejected, error) {
	done := Ejected{Target: target, Medium: r.Config.Targets[target].Medium}
	p, err := r.place(ctx, target)
	if err != nil {
		return done, err
	}
	m, is := p.target.(*targets.Removable)
	if !is {
		return done, fault.New(fault.Usage, fmt.Sprintf("target %q", target), errors.New("it has no medium"), "")
	}
	done.Still, err = m.Eject(ctx, r.atWork)
	return done, err
}

// EjectMedium is Eject by name of the medium.
func (r *Runner) EjectMedium(ctx context.Context, medium string) (Ejected, error) {
	target, err := r.targetOf(medium)
	if err != nil {
		return Ejected{}, err
	}
	return r.Eject(ctx, target)
}

// atWork reports whether a run, test, restore or upkeep is under way on this machine.
func (r *Runner) atWork() (busy bool, err error) {
	err = eachName(StatePath(r.Config, "locks"), "run-", func(_, id string) error {
		alive, err := r.alive(id)
		busy = busy || alive
		return err
	})
	return busy, err
}

// reachable leaves out the copies on media that are not plugged in, unless there
// are no others: then whoever wants one is told where it is.
func (r *Runner) reachable(ctx context.Context, copies []catalog.Copy) ([]catalog.Copy, error) {
	var there []catalog.Copy
	for _, c := range copies {
		if r.onMedium(c.Target) {
			p, err := r.place(ctx, c.Target)
			if err != nil {
				return nil, err
			}
			if p.target.Ready(ctx) != nil {
				continue
			}
		}
		there = append(there, c)
	}
	if len(there) == 0 {
		return copies, nil
	}
	return there, nil
}

// pulledEvery is how often it is looked whether a medium in use is still there.
const pulledEvery = 2 * time.Second

// whilePlugged returns a context that ends when a target's medium is pulled out:
// restic would try for a quarter of an hour to write to it. Call stop when the
// work is over.
func (r *Runner) whilePlugged(ctx context.Context, target string) (plugged context.Context, stop func()) {
	if !r.onMedium(target) {
		return ctx, func() {}
	}
	plugged, cancel := context.WithCancelCause(ctx)
	go func() {
		looks := time.NewTicker(pulledEvery)
		defer looks.Stop()
		var last string
		for {
			select {
			case <-plugged.Done():
				return
			case <-looks.C:
			}
			now, err := targets.DrivesChanged()
			if err != nil || now == last {
				continue
			}
			if last = now; r.pulled(plugged, target) {
				cancel(r.pulledOut(target))
				return
			}
		}
	}()
	return plugged, func() { cancel(nil) }
}

func (r *Runner) pulledOut(target string) error {
	return fault.New(fault.Absent, fmt.Sprintf("target %q", target), fmt.Errorf("medium %q was pulled out while it was in use", r.Config.Targets[target].Medium),
		"plug it in again: what it lacks is made good then")
}

// pulled reports whether a target lies on a medium that is gone for certain: its
// drive is, or what we mounted was unmounted by somebody else.
func (r *Runner) pulled(ctx context.Context, target string) bool {
	if !r.onMedium(target) {
		return false
	}
	m, err := r.registered(ctx, "medium", r.Config.Targets[target].Medium)
	if err != nil {
		return false
	}
	drives, err := targets.Drives(ctx)
	t := r.Config.Targets[target]
	return err == nil && !slices.ContainsFunc(drives, func(d targets.Drive) bool {
		return d.Filesystem == m.Registered.Event.Filesystem && (t.Mount != "" || slices.Contains(d.Mounts, r.mountOf(t)))
	})
}

// mountOf is where the medium of a target is mounted.
func (r *Runner) mountOf(t config.Target) string {
	if t.Mount != "" {
		return t.Mount
	}
	return StatePath(r.Config, "media", t.Medium)
}

// upkeepPlugged is upkeep that ends when the target's medium is pulled out.
func (r *Runner) upkeepPlugged(ctx context.Context, to place, done *Upkept, t Trigger) error {
	plugged, stop := r.whilePlugged(ctx, to.name)
	err := r.proveMedium(plugged, to, done, r.upkeep(plugged, to, done, t))
	stop()
	if err != nil && fault.KindOf(err) != fault.Refused && ctx.Err() == nil && r.pulled(ctx, to.name) {
		err = errors.Join(r.pulledOut(to.name), r.see(ctx, r.Config.Targets[to.name].Medium, false))
	}
	return err
}
