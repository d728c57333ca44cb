package compliance

import (
	"strings"
	"testing"

	"saoluu/catalog"
)

// withMedia is a site whose job also has two media that take turns, filled on 10
// and 15 May and unplugged the day after.
func withMedia(t testing.TB) *kept {
	t.Helper()
	k := healthy(t)
	k.media = map[string]catalog.MediumState{}
	for medium, filled := range map[string]string{"a": "2026-05-10", "b": "2026-05-15"} {
		k.inv.Targets = append(k.inv.Targets, catalog.TargetRow{
			Name: "usb-" + medium, Type: "removable", Medium: medium, Rotation: "turn", DueBack: "7d", DueOut: "2d",
		})
		k.inv.Assets[0].Targets = append(k.inv.Assets[0].Targets, "usb-"+medium)
		k.targets = append(k.targets, catalog.TargetState{
			Target: "usb-" + medium, Repository: "r", LastCheck: catalog.RunComplete, LastCheckAt: at(t, filled), LastCopyAt: at(t, filled), AnchoredAt: at(t, filled),
		})
		k.media[medium] = catalog.MediumState{
			Medium:     medium,
			Registered: catalog.Dated[catalog.MediumRegistered]{Event: catalog.MediumRegistered{Medium: medium, Target: "usb-" + medium}, At: at(t, "2026-04-01")},
			Seen:       catalog.Dated[catalog.MediumSeen]{Event: catalog.MediumSeen{Medium: medium}, At: at(t, filled).AddDate(0, 0, 1)},
			Handed:     catalog.Dated[catalog.MediumHanded]{Event: catalog.MediumHanded{Medium: medium, To: "A", Place: "két"}, At: at(t, filled).AddDate(0, 0, 1)},
			Staged:     catalog.Dated[catalog.MediumStaged]{Event: catalog.MediumStaged{Medium: medium, Stage: catalog.StageInUse}, At: at(t, "2026-04-02")},
		}
	}
	k.copied = at(t, "2026-05-15")
	return k
}

func TestMediaPosture(t *testing.T) {
	change := func(k *kept, medium string, do func(*catalog.MediumState)) {
		s := k.media[medium]
		do(&s)
		k.media[medium] = s
	}
	for _, c := range []struct {
		name   string
		change func(k *kept)
		want   State
		says   string
	}{
		{"in turn", func(*kept) {}, Good, ""},
		{"none came back", func(k *kept) {
			for i := range k.targets {
				if k.targets[i].Target == "usb-b" {
					k.targets[i].LastCheckAt, k.targets[i].LastCopyAt = at(t, "2026-05-11"), at(t, "2026-05-11")
				}
			}
		}, Warning, `one of rotation "turn" was due back`},
		{"a whole turn was missed", func(k *kept) {
			for i := range k.targets {
				if k.targets[i].Target != testTarget {
					k.targets[i].LastCheckAt, k.targets[i].LastCopyAt = at(t, "2026-05-01"), at(t, "2026-05-01")
				}
			}
		}, Failing, "was due back"},
		{"nobody said who has it", func(k *kept) {
			change(k, "a", func(s *catalog.MediumState) { s.Handed.At = at(t, "2026-04-01") })
		}, Warning, "nobody has said who has it"},
		{"promised back by a day", func(k *kept) {
			change(k, "a", func(s *catalog.MediumState) { s.Handed.Event.DueBack = "2026-05-15" })
		}, Warning, "was to bring it back by 2026-05-15"},
		{"nobody looked after it", func(k *kept) {
			change(k, "a", func(s *catalog.MediumState) { s.Seen.At, s.Handed.At = at(t, "2026-02-01"), at(t, "2026-02-01") })
		}, Warning, "nobody has looked after it"},
		{"found broken", func(k *kept) {
			change(k, "a", func(s *catalog.MediumState) {
				s.Inspected = catalog.Dated[catalog.MediumInspected]{Event: catalog.MediumInspected{Medium: "a"}, At: at(t, "2026-05-18")}
			})
		}, Failing, "not to be whole"},
		{"stays plugged in", func(k *kept) {
			change(k, "a", func(s *catalog.MediumState) { s.Seen.Event.Plugged = true })
		}, Warning, "it stays plugged in since"},
		{"lost", func(k *kept) {
			change(k, "a", func(s *catalog.MediumState) { s.Staged.Event.Stage = catalog.StageLost })
		}, Warning, "reported lost"},
		{"waits to be sanitised", func(k *kept) {
			change(k, "a", func(s *catalog.MediumState) { s.Staged.Event.Stage = catalog.StageToSanitise })
		}, Warning, "waits to be sanitised"},
		{"given away", func(k *kept) {
			change(k, "a", func(s *catalog.MediumState) { s.Staged.Event.Stage = catalog.StageTransferred })
		}, Warning, "take the target out of the configuration"},
		{"came back and was not filled", func(k *kept) {
			for i := range k.targets {
				if k.targets[i].Target != testTarget {
					k.targets[i].LastCheckAt, k.targets[i].LastCopyAt = at(t, now), at(t, "2026-05-11")
					k.targets[i].LastError = "copy: no space left"
				}
			}
		}, Warning, `one of rotation "turn" was due back`},
		{"not in the register", func(k *kept) { delete(k.media, "a") }, Warning, "not in the register"},
		{"never filled", func(k *kept) {
			for i := range k.targets {
				if k.targets[i].Target == "usb-a" {
					k.targets[i].Repository = ""
				}
			}
		}, Warning, "has not been registered yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := withMedia(t)
			c.change(k)
			s, err := Posture(t.Context(), k, at(t, now))
			if err != nil {
				t.Fatal(err)
			}
			var found TargetStatus
			for _, target := range s.Targets {
				if target.Target != testTarget && (found.Target == "" || rankState(target.State) > rankState(found.State)) {
					found = target
				}
			}
			if found.State != c.want || !strings.Contains(found.Why, c.says) {
				t.Errorf("%+v", found)
			}
			if c.name == "in turn" && s.Overall != Good {
				t.Errorf("%s: %s %+v", s.Overall, s.Why, s.Jobs)
			}
		})
	}
}
