package compliance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

// testRepository is the repository that keys of a test open.
const testRepository = "kho-1"

// addKeys adds what a test gives of custodians, keys and sets of offline media.
func (sc *scenario) addKeys(s *scope) {
	for _, name := range s.words("custodians") {
		sc.custodians = append(sc.custodians, sealedTo(name))
	}
	for _, k := range s.tables("keys") {
		sc.addKey(k)
	}
	slices.SortStableFunc(sc.keys, func(a, b keyEvent) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.seq, b.seq)) })
	for i := range sc.keys {
		sc.keys[i].seq = int64(8000 + i)
	}
	for i, a := range s.tables("archives") {
		sc.archives = append(sc.archives, sc.archive(a, i))
	}
}

// sealedTo is a custodian of a test. A key other than the first is written
// NAME/KEY.
func sealedTo(name string) catalog.SealedTo {
	custodian, _, _ := strings.Cut(name, "/")
	return catalog.SealedTo{Custodian: custodian, Fingerprint: "SHA256:" + name}
}

// addKey adds the events about the key of one target.
func (sc *scenario) addKey(s *scope) {
	target := testTarget
	if s.has("target") {
		target = s.optional("target")
	}
	add := func(at time.Time, e catalog.Event) {
		if !at.IsZero() {
			sc.keys = append(sc.keys, keyEvent{target: target, at: at, seq: int64(len(sc.keys)), event: e})
		}
	}
	sealed := catalog.KeySealed{Target: target, Repository: testRepository, Key: "key-1", Sheet: s.boolean("sheet", false)}
	for _, name := range s.words("to") {
		sealed.Recipients = append(sealed.Recipients, sealedTo(name))
	}
	add(s.instant("sealed", sc.loc), sealed)
	add(s.instant("placed", sc.loc), catalog.KeyPlaced{
		Target: target, Repository: testRepository, From: catalog.KeyFromState, Exposed: s.boolean("exposed", false),
		Separation: &catalog.Separation{
			Level: s.number("level", levelOtherHost, levelSameFS, levelOutOfReach), How: "thử",
			Unknown: s.boolean("unknown", false), Declared: s.boolean("declared", false),
		},
	})
	for _, d := range s.tables("drills") {
		e := catalog.EscrowDrilled{Target: target, OK: d.boolean("ok", true), Custodian: d.optional("by")}
		kind := d.word("kind", string(fault.Verification), string(fault.Verification), string(fault.Damaged), string(fault.WrongKey), string(fault.Absent))
		if !e.OK {
			e.ErrorKind = kind
		}
		add(d.instant("at", sc.loc), e)
	}
	rotated := catalog.KeyRotated{Target: target, Repository: testRepository, Added: "key-2", Left: s.words("left")}
	if s.boolean("resealed", true) {
		rotated.Added = "key-1" // the key that is sealed
	}
	add(s.instant("rotated", sc.loc), rotated)
	add(s.instant("shredded", sc.loc), catalog.KeyShredded{
		Target: target, Repository: testRepository, Reason: "thử", State: s.word("shred", catalog.RunComplete, catalog.RunRunning, catalog.RunComplete, catalog.RunFailed),
	})
}

// archive is a set of offline media that holds the newest good backup before it.
func (sc *scenario) archive(s *scope, number int) catalog.Dated[catalog.ArchiveWritten] {
	at := s.instant("at", sc.loc)
	set := catalog.ArchiveWritten{Set: fmt.Sprintf("bo-%d", number+1), Discs: 1, Volumes: 1, Verified: s.boolean("verified", true), FinishedAt: at}
	for _, r := range sc.runs {
		if r.Good(at) && r.FinishedAt.Before(at) {
			set.Runs = []string{r.Run}
		}
	}
	if s.has("level") || s.has("unknown") {
		set.Separation = &catalog.Separation{Level: s.number("level", levelOtherDisk, levelSameFS, levelOutOfReach), How: "thử", Unknown: s.boolean("unknown", false), Domain: s.optional("domain")}
	}
	return catalog.Dated[catalog.ArchiveWritten]{Event: set, Seq: int64(9000 + number), At: at}
}
