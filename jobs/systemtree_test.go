package jobs

import (
	"slices"
	"testing"

	"saoluu/config"
	"saoluu/sources"
)

// A backup of a system must hold neither the ones before nor the keys that open them.
func TestSystemLeavesOursOut(t *testing.T) {
	r := &Runner{Config: &config.Config{
		Paths:   config.Paths{State: "/var/lib/saoluu", Scratch: "/srv/scratch"},
		Targets: map[string]config.Target{"nas": {Type: "local", Path: "/mnt/nas"}, "usb": {Type: "removable", Path: "saoluu"}, "s3": {Type: "s3"}},
	}}
	s, ok := r.systemTree(config.Job{Source: config.Source{Type: "image", Method: config.SystemTree, Path: "/"}}).(*sources.SystemTree)
	if !ok {
		t.Fatal("no system")
	}
	for _, want := range []string{"/srv/scratch", "/var/lib/saoluu/cache", "/var/lib/saoluu/keys", "/mnt/nas"} {
		if !slices.Contains(s.Skip, want) {
			t.Errorf("%q is not left out: %q", want, s.Skip)
		}
	}
	if len(s.Skip) != 4 {
		t.Errorf("left out is %q", s.Skip)
	}
}
