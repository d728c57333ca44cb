package catalog_test

import (
	"testing"
	"time"

	"saoluu/catalog"
)

func TestMedia(t *testing.T) {
	f := newCatalog(t)
	f.add(
		catalog.MediumRegistered{Medium: "usb-a", ID: "1", Filesystem: "u-a", By: "b", Secrecy: "none"},
		catalog.MediumRegistered{Medium: "usb-b", ID: "2", Filesystem: "u-b", By: "b", Secrecy: "none"},
		catalog.MediumStaged{Medium: "usb-a", Stage: catalog.StageInUse, By: "b"},
		catalog.MediumSeen{Medium: "usb-a", Plugged: true},
	)
	filled := f.clock.Now()
	before := f.clock.Now().Add(-time.Hour)
	f.clock.Add(time.Hour)
	f.add(
		catalog.MediumSeen{Medium: "usb-a"},
		catalog.MediumHanded{Medium: "usb-a", To: "t", Place: "safe", By: "b"},
		catalog.MediumRefused{Filesystem: "u-x", Reason: "not in the register"},
		catalog.MediumRefused{Medium: "usb-b", Filesystem: "u-b", Reason: "wrong header"},
	)
	register, refused, err := f.Media(f.ctx, f.clock.Now())
	if err != nil || len(register) != 2 || len(refused) != 2 {
		t.Fatalf("%+v, %+v, %v", register, refused, err)
	}
	a, b := register["usb-a"], register["usb-b"]
	if !a.OutOfReach(filled) || !a.Usable() || a.Stage() != catalog.StageInUse || a.Handed.Event.Place != "safe" {
		t.Errorf("unplugged: %+v", a)
	}
	if b.OutOfReach(filled) || b.Stage() != catalog.StageNew || b.Registered.Event.ID != "2" {
		t.Errorf("never seen to be unplugged: %+v", b)
	}
	if register, refused, err := f.Media(f.ctx, filled); err != nil || register["usb-a"].OutOfReach(filled) || len(refused) != 0 {
		t.Errorf("as known before: %+v, %+v, %v", register, refused, err)
	}
	if register, _, err := f.Media(f.ctx, before); err != nil || len(register) != 0 {
		t.Errorf("as known before the first: %+v, %v", register, err)
	}
	if log, err := f.MediumLog(f.ctx, "usb-b", f.clock.Now()); err != nil || len(log) != 2 || log[1].Event.(catalog.MediumRefused).Reason != "wrong header" {
		t.Errorf("log: %+v, %v", log, err)
	}
	if _, err := f.Append(f.ctx, catalog.MediumStaged{Medium: "usb-a", Stage: catalog.StageSanitised, By: "b"}); err == nil {
		t.Error("sanitised without a record")
	}
	f.verified()
}
