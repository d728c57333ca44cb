package system

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

func TestLayoutIsReadAsItWasWritten(t *testing.T) {
	want := &Layout{
		Root: "/", Consistency: "snapshot", Firmware: FirmwareUEFI, Loaders: []string{LoaderGRUBEFI},
		Disk: Disk{Path: "/dev/sda", Size: 1 << 30, Sector: 512, Table: disk.Table{Kind: "gpt"}, Dump: "label: gpt\n"},
		FileSystems: []FileSystem{
			{Partition: 1, Type: "vfat", Mount: "/boot/efi", Saved: true},
			{Partition: 2, Type: "btrfs", Default: 5, Saved: true, Subvolumes: []Subvolume{{ID: 256, Path: "@", At: "/", Mounted: true}, {ID: 257, Path: "old"}}},
		},
	}
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for folder, number := range map[string]int{"/": 2, "/boot/efi": 1} {
		if f := got.At(folder); f == nil || f.Partition != number {
			t.Errorf("at %q: %+v, want partition %d", folder, f, number)
		}
	}
	if f := got.At("/home"); f != nil {
		t.Errorf("nothing is mounted at /home, got %+v", f)
	}
}

func TestLayoutThatCannotBeRead(t *testing.T) {
	for text, want := range map[string]fault.Kind{
		`{"version":1`: fault.Damaged, `{}`: fault.Refused, `{"version":2}`: fault.Refused, "": fault.Damaged,
	} {
		if _, err := Decode([]byte(text)); fault.KindOf(err) != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
