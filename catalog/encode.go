package catalog

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"saoluu/evidence"
)

// encode checks an event and returns it as it will be read back, with its body
// in canonical form.
func encode(e Event) (Event, []byte, error) {
	e = whole(e)
	if err := check(e); err != nil {
		return nil, nil, err
	}
	body, err := evidence.Canonical(e)
	if err != nil {
		return nil, nil, fmt.Errorf("event %s: %w", e.Kind(), err)
	}
	return e, body, nil
}

// decode is the inverse of encode.
func decode(kind string, body []byte) (Event, error) {
	switch kind {
	case "site-opened":
		return decodeAs[SiteOpened](body)
	case "inventory-set":
		return decodeAs[InventorySet](body)
	case "slots-planned":
		return decodeAs[SlotsPlanned](body)
	case "slots-closed":
		return decodeAs[SlotsClosed](body)
	case "run-started":
		return decodeAs[RunStarted](body)
	case "run-finished":
		return decodeAs[RunFinished](body)
	case "copy-finished":
		return decodeAs[CopyFinished](body)
	case "test-started":
		return decodeAs[TestStarted](body)
	case "test-finished":
		return decodeAs[TestFinished](body)
	case "control-finished":
		return decodeAs[ControlFinished](body)
	case "check-finished":
		return decodeAs[CheckFinished](body)
	case "retention-applied":
		return decodeAs[RetentionApplied](body)
	case "retention-planned":
		return decodeAs[RetentionPlanned](body)
	case "repository-pruned":
		return decodeAs[RepositoryPruned](body)
	case "target-enrolled":
		return decodeAs[TargetEnrolled](body)
	case "lock-removed":
		return decodeAs[LockRemoved](body)
	case "daemon-started":
		return decodeAs[DaemonStarted](body)
	case "daemon-stopped":
		return decodeAs[DaemonStopped](body)
	case "beat":
		return decodeAs[Beat](body)
	case "config-refused":
		return decodeAs[ConfigRefused](body)
	case "clock-jumped":
		return decodeAs[ClockJumped](body)
	case "checkpoint-anchored":
		return decodeAs[CheckpointAnchored](body)
	case "hold-set":
		return decodeAs[HoldSet](body)
	case "restore-finished":
		return decodeAs[RestoreFinished](body)
	case "run-shrank":
		return decodeAs[RunShrank](body)
	case "config-changed":
		return decodeAs[ConfigChanged](body)
	case "change-explained":
		return decodeAs[ChangeExplained](body)
	case "deletion-challenged":
		return decodeAs[DeletionChallenged](body)
	case "locks-renewed":
		return decodeAs[LocksRenewed](body)
	case "target-recovered":
		return decodeAs[TargetRecovered](body)
	case "key-sealed":
		return decodeAs[KeySealed](body)
	case "key-placed":
		return decodeAs[KeyPlaced](body)
	case "escrow-drilled":
		return decodeAs[EscrowDrilled](body)
	case "key-rotated":
		return decodeAs[KeyRotated](body)
	case "old-keys-checked":
		return decodeAs[OldKeysChecked](body)
	case "key-shredded":
		return decodeAs[KeyShredded](body)
	case "self-saved":
		return decodeAs[SelfSaved](body)
	case "self-tested":
		return decodeAs[SelfTested](body)
	case "site-recovered":
		return decodeAs[SiteRecovered](body)
	case "archive-written":
		return decodeAs[ArchiveWritten](body)
	case "medium-registered":
		return decodeAs[MediumRegistered](body)
	case "medium-seen":
		return decodeAs[MediumSeen](body)
	case "medium-refused":
		return decodeAs[MediumRefused](body)
	case "medium-handed":
		return decodeAs[MediumHanded](body)
	case "medium-inspected":
		return decodeAs[MediumInspected](body)
	case "medium-staged":
		return decodeAs[MediumStaged](body)
	case "catalog-compared":
		return decodeAs[CatalogCompared](body)
	}
	return nil, fmt.Errorf("event kind %q is not known", kind)
}

func decodeAs[E Event](body []byte) (Event, error) {
	var e E
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("event %s: %w", e.Kind(), err)
	}
	return e, nil
}

// Decode returns the event an entry holds.
func (e Entry) Decode() (Event, error) {
	parts, err := evidence.SplitEntry(e.JSON)
	if err != nil {
		return nil, err
	}
	return decode(parts.Kind, parts.Body)
}

// whole returns e with every instant in UTC and whole seconds, and lists that
// are empty rather than absent. Lists are copied before they are changed.
func whole(e Event) Event {
	switch e := e.(type) {
	case InventorySet:
		e.Classes, e.Targets, e.Assets = full(e.Classes), full(e.Targets), full(e.Assets)
		return e
	case SlotsPlanned:
		e.Until, e.Slots = second(e.Until), wholeSlots(e.Slots)
		return e
	case SlotsClosed:
		e.Slots = wholeSlots(e.Slots)
		return e
	case RunStarted:
		e.Due = secondOf(e.Due)
		return e
	case RunFinished:
		e.Due, e.Covers = secondOf(e.Due), seconds(e.Covers)
		e.StartedAt, e.ConsistentAt, e.FinishedAt = second(e.StartedAt), second(e.ConsistentAt), second(e.FinishedAt)
		e.Parts, e.Copies = full(e.Parts), full(e.Copies)
		return e
	case CopyFinished:
		e.StartedAt, e.FinishedAt = second(e.StartedAt), second(e.FinishedAt)
		return e
	case TestStarted:
		e.Due = secondOf(e.Due)
		return e
	case TestFinished:
		e.Due, e.Covers = secondOf(e.Due), seconds(e.Covers)
		e.StartedAt, e.ConsistentAt, e.FinishedAt = second(e.StartedAt), second(e.ConsistentAt), second(e.FinishedAt)
		e.Snapshots, e.Assertions, e.Tools = full(e.Snapshots), full(e.Assertions), full(e.Tools)
		return e
	case CheckFinished:
		e.Due = secondOf(e.Due)
		e.StartedAt, e.FinishedAt = second(e.StartedAt), second(e.FinishedAt)
		return e
	case KeySealed:
		e.Recipients = full(e.Recipients)
		return e
	case ArchiveWritten:
		e.Runs = slices.Compact(slices.Sorted(slices.Values(e.Runs)))
		e.Recipients, e.StartedAt, e.FinishedAt = full(e.Recipients), second(e.StartedAt), second(e.FinishedAt)
		return e
	case MediumStaged:
		if e.Sanitisation != nil {
			s := *e.Sanitisation
			s.Runs = full(s.Runs)
			e.Sanitisation = &s
		}
		return e
	case KeyRotated:
		e.Removed, e.Kept = full(e.Removed), wholeKept(e.Kept)
		return e
	case KeyShredded:
		e.Kept = wholeKept(e.Kept)
		return e
	case OldKeysChecked:
		e.Removed, e.Kept = full(e.Removed), wholeKept(e.Kept)
		return e
	case RetentionPlanned:
		e.Removed = wholeRemoved(e.Removed)
		return e
	case RetentionApplied:
		e.Removed = wholeRemoved(e.Removed)
		return e
	case RepositoryPruned:
		e.StartedAt, e.FinishedAt = second(e.StartedAt), second(e.FinishedAt)
		return e
	case ClockJumped:
		e.Before, e.After = second(e.Before), second(e.After)
		return e
	case RestoreFinished:
		e.StartedAt, e.FinishedAt = second(e.StartedAt), second(e.FinishedAt)
		return e
	}
	return e
}

func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func secondOf(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	s := second(*t)
	return &s
}

func seconds(list []time.Time) []time.Time {
	var out []time.Time
	for _, t := range list {
		out = append(out, second(t))
	}
	return out
}

func wholeKept(list []KeptKey) []KeptKey {
	var out []KeptKey
	for _, k := range list {
		out = append(out, KeptKey{Key: k.Key, Until: second(k.Until)})
	}
	return out
}

func wholeSlots(list []Slot) []Slot {
	out := make([]Slot, len(list))
	for i, s := range list {
		s.Due = second(s.Due)
		out[i] = s
	}
	return out
}

func wholeRemoved(list []RemovedRow) []RemovedRow {
	out := make([]RemovedRow, len(list))
	for i, row := range list {
		row.TakenAt = second(row.TakenAt)
		out[i] = row
	}
	return out
}

func full[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// check refuses events the tables could not hold.
func check(e Event) error {
	switch e := e.(type) {
	case SlotsPlanned:
		return checkSlots(e.Slots)
	case SlotsClosed:
		if e.State == SlotOpen {
			return fmt.Errorf("event %s: a slot is not closed as %q", e.Kind(), e.State)
		}
		if _, err := number(slotStates(), "slot state", e.State); err != nil {
			return err
		}
		return checkSlots(e.Slots)
	case RunStarted:
		return checkNames(e.Kind(), e.Run, e.Job)
	case RunFinished:
		return checkFinished(e)
	case CopyFinished:
		if _, err := number(runStates(), "copy state", e.Copy.State); err != nil {
			return err
		}
		return checkNames(e.Kind(), e.Run, e.Job, e.Copy.Target)
	case TestStarted:
		return checkNames(e.Kind(), e.Test, e.Job)
	case TestFinished:
		if _, err := number(verdicts(), "verdict", e.Verdict); err != nil {
			return err
		}
		return checkNames(e.Kind(), e.Test, e.Job)
	case ControlFinished:
		return checkNames(e.Kind(), e.Source)
	case CheckFinished:
		return checkNames(e.Kind(), e.Target)
	case RetentionPlanned:
		return checkNames(e.Kind(), e.Target)
	case RetentionApplied:
		return checkNames(e.Kind(), e.Target)
	case RepositoryPruned:
		return checkNames(e.Kind(), e.Target)
	case TargetEnrolled:
		return checkNames(e.Kind(), e.Target)
	case DeletionChallenged:
		return checkNames(e.Kind(), e.Target)
	case LocksRenewed:
		return checkNames(e.Kind(), e.Target)
	case TargetRecovered:
		return checkNames(e.Kind(), e.Target)
	case CheckpointAnchored:
		return checkNames(e.Kind(), e.Target)
	case KeySealed:
		return checkNames(e.Kind(), e.Target)
	case KeyPlaced:
		return checkNames(e.Kind(), e.Target, e.From)
	case EscrowDrilled:
		return checkNames(e.Kind(), e.Target)
	case KeyRotated:
		return checkNames(e.Kind(), e.Target)
	case KeyShredded:
		return checkNames(e.Kind(), e.Target)
	case OldKeysChecked:
		return checkNames(e.Kind(), e.Target)
	case SelfSaved:
		return checkNames(e.Kind(), e.Target)
	case SelfTested:
		return checkNames(e.Kind(), e.Target)
	case SiteRecovered:
		return checkNames(e.Kind(), e.Target)
	case ArchiveWritten:
		if len(e.Runs) == 0 {
			return fmt.Errorf("event %s: set %q holds no run", e.Kind(), e.Set)
		}
		return checkNames(e.Kind(), append([]string{e.Set, e.SHA256}, e.Runs...)...)
	case MediumRegistered:
		return checkNames(e.Kind(), e.Medium, e.ID, e.Filesystem, e.By)
	case MediumSeen:
		return checkNames(e.Kind(), e.Medium)
	case MediumRefused:
		return checkNames(e.Kind(), e.Reason)
	case MediumHanded:
		return checkNames(e.Kind(), e.Medium, e.To, e.Place, e.By)
	case MediumInspected:
		return checkNames(e.Kind(), e.Medium, e.By)
	case MediumStaged:
		if (e.Stage == StageSanitised) != (e.Sanitisation != nil) {
			return fmt.Errorf("event %s: stage %q and a sanitisation record do not go together", e.Kind(), e.Stage)
		}
		return checkNames(e.Kind(), e.Medium, e.Stage, e.By)
	case HoldSet:
		return checkNames(e.Kind(), e.Run)
	case RunShrank:
		return checkNames(e.Kind(), e.Run, e.Job)
	case ConfigChanged:
		return checkNames(e.Kind(), e.Run, e.Job, e.Before)
	case ChangeExplained:
		return checkNames(e.Kind(), e.Run, e.Job, e.Note, e.By)
	}
	return nil
}

func checkFinished(e RunFinished) error {
	if e.State == RunRunning {
		return fmt.Errorf("event %s: a run does not finish as %q", e.Kind(), e.State)
	}
	if _, err := number(runStates(), "run state", e.State); err != nil {
		return err
	}
	for _, c := range e.Copies {
		if _, err := number(runStates(), "copy state", c.State); err != nil {
			return err
		}
		if err := checkNames(e.Kind(), c.Target); err != nil {
			return err
		}
	}
	if e.State == RunComplete && e.ConsistentAt.IsZero() {
		return fmt.Errorf("event %s: run %q is complete but stands for no instant", e.Kind(), e.Run)
	}
	return checkNames(e.Kind(), e.Run, e.Job)
}

func checkSlots(slots []Slot) error {
	for _, s := range slots {
		if _, err := number(actions(), "action", s.Action); err != nil {
			return err
		}
		if s.Job == "" || s.Due.IsZero() {
			return fmt.Errorf("slot of %q has no job or no due time", s.Action)
		}
	}
	return nil
}

func checkNames(kind string, names ...string) error {
	for _, n := range names {
		if n == "" {
			return fmt.Errorf("event %s: a name is missing", kind)
		}
	}
	return nil
}
