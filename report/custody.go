package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/compliance"
)

// A Key is one line of the register of keys. No key is in it.
type Key struct {
	Target     string    `json:"target"`
	Custodians []string  `json:"custodians"` // who can open it
	Left       []string  `json:"left"`       // of those, who are custodians no longer
	Sheet      bool      `json:"sheet"`      // printed on paper
	SealedAt   time.Time `json:"sealed_at,omitzero"`
	DrilledAt  time.Time `json:"drilled_at,omitzero"` // when a custodian of today last opened it
	DrilledBy  string    `json:"drilled_by,omitempty"`
	RotatedAt  time.Time `json:"rotated_at,omitzero"`
	ShreddedAt time.Time `json:"shredded_at,omitzero"` // when all keys were destroyed
	Apart      string    `json:"apart"`                // of the clear key from the data: "L0" to "L5", or "unknown"
	Entry      string    `json:"entry,omitempty"`      // that sealed it
}

// An Archive is one set of offline media.
type Archive struct {
	Set        string        `json:"set"`
	At         time.Time     `json:"at"` // when it was finished
	Runs       []ArchivedRun `json:"runs"`
	Discs      int           `json:"discs"`
	Volumes    int           `json:"volumes"`
	Bytes      int64         `json:"bytes"`
	Recipients []string      `json:"recipients"`
	Verified   bool          `json:"verified"` // every volume was read back
	Opened     bool          `json:"opened"`   // and decrypted by a custodian
	Apart      string        `json:"apart"`    // from the nearest of data and targets: "L0" to "L5", or "unknown"
	SHA256     string        `json:"sha256"`   // of the set's index
	Entry      string        `json:"entry"`
}

// An ArchivedRun is one run in a set.
type ArchivedRun struct {
	Run     string    `json:"run"`
	Job     string    `json:"job,omitempty"` // empty: the run is not on record any more
	TakenAt time.Time `json:"taken_at,omitzero"`
}

// apart writes a measured distance as text.
func apart(s *catalog.Separation) string {
	if s == nil || s.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("L%d", s.Level)
}

func names(to []catalog.SealedTo) []string {
	out := []string{}
	for _, c := range to {
		out = append(out, c.Custodian)
	}
	return out
}

func keys(result compliance.Result) []Key {
	out := []Key{}
	for _, k := range result.Keys {
		row := Key{
			Target: k.Target, Custodians: names(k.Sealed.Event.Recipients), Left: append([]string{}, k.Left...), Sheet: k.Sealed.Event.Sheet,
			SealedAt: utc(k.Sealed.At), DrilledAt: utc(k.Drilled.At), DrilledBy: k.Drilled.Event.Custodian, RotatedAt: utc(k.Rotated.At),
			ShreddedAt: utc(k.Shredded), Apart: apart(k.Placed.Event.Separation),
		}
		if !row.SealedAt.IsZero() {
			row.Entry = fmt.Sprintf("entry:%d", k.Sealed.Seq)
		}
		out = append(out, row)
	}
	return out
}

func archives(result compliance.Result) []Archive {
	out := []Archive{}
	for _, a := range result.Archives {
		e := a.Event
		row := Archive{
			Set: e.Set, At: utc(a.At), Discs: e.Discs, Volumes: e.Volumes, Bytes: e.Bytes, Recipients: names(e.Recipients), Verified: e.Verified,
			Opened: e.Opened, Apart: apart(e.Separation), SHA256: e.SHA256, Entry: fmt.Sprintf("entry:%d", a.Seq),
		}
		for _, id := range e.Runs {
			run := ArchivedRun{Run: id}
			if i := slices.IndexFunc(a.Held, func(h compliance.ArchivedRun) bool { return h.Run == id }); i >= 0 {
				run.Job, run.TakenAt = a.Held[i].Job, utc(a.Held[i].Taken)
			}
			row.Runs = append(row.Runs, run)
		}
		out = append(out, row)
	}
	return out
}

// A Medium is one line of the register of removable media.
type Medium struct {
	Medium      string    `json:"medium"`
	Target      string    `json:"target"`
	Type        string    `json:"type"`
	Serial      string    `json:"serial,omitempty"`
	Label       string    `json:"label,omitempty"`
	Secrecy     string    `json:"secrecy"`
	Owner       string    `json:"owner"`
	Stage       string    `json:"stage"`
	StageWord   string    `json:"stage_vi"`
	StagedAt    time.Time `json:"staged_at,omitzero"`
	Plugged     bool      `json:"plugged"`
	SeenAt      time.Time `json:"seen_at,omitzero"` // when it was plugged in or pulled out
	Holder      string    `json:"holder,omitempty"`
	Place       string    `json:"place,omitempty"`
	Seal        string    `json:"seal,omitempty"`
	HandedAt    time.Time `json:"handed_at,omitzero"`
	InspectedAt time.Time `json:"inspected_at,omitzero"`
	Intact      bool      `json:"intact"` // as it was found then
	Copies      int       `json:"copies"` // jobs with a copy on it that counts
	Registered  string    `json:"registered"`
	Sanitised   string    `json:"sanitised,omitempty"` // entry of the record
}

func media(result compliance.Result) []Medium {
	out := []Medium{}
	for _, m := range result.Media {
		e := m.Registered.Event
		row := Medium{
			Medium: e.Medium, Target: e.Target, Type: e.Type, Serial: e.Serial, Label: e.Label, Secrecy: e.Secrecy, Owner: e.Owner,
			Stage: m.Stage(), StageWord: m.StageWord(), StagedAt: utc(m.Staged.At), Plugged: m.Seen.Event.Plugged, SeenAt: utc(m.Seen.At),
			Holder: m.Handed.Event.To, Place: m.Handed.Event.Place, Seal: m.Handed.Event.Seal, HandedAt: utc(m.Handed.At),
			InspectedAt: utc(m.Inspected.At), Intact: m.Inspected.Event.Intact, Copies: m.Copies, Registered: fmt.Sprintf("entry:%d", m.Registered.Seq),
		}
		if m.Sanitised.Seq > 0 {
			row.Sanitised = fmt.Sprintf("entry:%d", m.Sanitised.Seq)
		}
		out = append(out, row)
	}
	return out
}

// An archiveRow is a set as the page shows it.
type archiveRow struct {
	Archive
	Titles string    // of its jobs
	Oldest time.Time // the instant its oldest data stand for
}

// custody chooses the rows of sets of offline media: the newest ones.
func (p *page) custody() {
	title := p.titles()
	for _, a := range slices.Backward(p.Report.Archives) {
		if len(p.ArchiveRows) == maxArchiveRows {
			break
		}
		row := archiveRow{Archive: a}
		var said []string
		for _, run := range a.Runs {
			name := title[run.Job]
			if name == "" {
				name = run.Run
			}
			said = append(said, name)
			if row.Oldest.IsZero() || (!run.TakenAt.IsZero() && run.TakenAt.Before(row.Oldest)) {
				row.Oldest = run.TakenAt
			}
		}
		row.Titles = strings.Join(said[:min(len(said), maxArchiveJobs)], "; ")
		if more := len(said) - maxArchiveJobs; more > 0 {
			row.Titles += fmt.Sprintf("; và %d mục khác", more)
		}
		p.ArchiveRows = append(p.ArchiveRows, row)
	}
	p.ArchivesLeft = len(p.Report.Archives) - len(p.ArchiveRows)
}

// bytesText writes an amount of data as it is read in Việt Nam.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return strings.Replace(fmt.Sprintf("%.1f %s", f, units[i]), ".", ",", 1)
}
