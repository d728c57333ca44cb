package targets

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/sys/mountinfo"
)

// fakeSys builds the part of sysfs that says what lies beneath a device.
func fakeSys(t *testing.T) probe {
	t.Helper()
	sys := t.TempDir()
	disk := func(parts ...string) string { return filepath.Join(append([]string{sys, "devices"}, parts...)...) }
	for _, dir := range []string{
		disk("sda", "sda1"), disk("sda", "sda2"), disk("sdb", "sdb1"), disk("dm-0", "slaves"), disk("md0", "slaves"),
		filepath.Join(sys, "dev/block"),
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{disk("sda", "sda1"), disk("sda", "sda2"), disk("sdb", "sdb1")} {
		if err := os.WriteFile(filepath.Join(part, "partition"), []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{
		"dev/block/8:1":            disk("sda", "sda1"),
		"dev/block/8:2":            disk("sda", "sda2"),
		"dev/block/8:17":           disk("sdb", "sdb1"),
		"dev/block/253:0":          disk("dm-0"),
		"dev/block/9:0":            disk("md0"),
		"devices/dm-0/slaves/sda2": disk("sda", "sda2"),
		"devices/md0/slaves/sda1":  disk("sda", "sda1"),
		"devices/md0/slaves/sdb1":  disk("sdb", "sdb1"),
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(sys, name)); err != nil {
			t.Fatal(err)
		}
	}
	return probe{sys: sys}
}

func TestDisksBeneathDevices(t *testing.T) {
	p := fakeSys(t)
	for dev, want := range map[string][]string{
		"8:1": {"sda"}, "8:17": {"sdb"}, "253:0": {"sda"}, "9:0": {"sda", "sdb"},
	} {
		var found place
		if err := p.blockDevice(t.Context(), dev, &found, 0); err != nil {
			t.Fatal(err)
		}
		slices.Sort(found.disks)
		if !slices.Equal(found.disks, want) || found.blind != "" {
			t.Errorf("device %s: disks %v (%s), want %v", dev, found.disks, found.blind, want)
		}
	}
	var lost place
	if err := p.blockDevice(t.Context(), "7:7", &lost, 0); err != nil || lost.blind == "" {
		t.Errorf("a device the kernel does not know: %+v, %v", lost, err)
	}
}

func TestLevels(t *testing.T) {
	on := func(fs string, disks ...string) place { return place{files: []string{fs}, disks: disks} }
	blind := place{files: []string{"0:40"}, blind: "tmpfs without a block device"}
	at := func(name, addr string, own bool, files ...string) place {
		return place{files: files, host: &host{name: name, addrs: []netip.Addr{netip.MustParseAddr(addr)}, own: own}}
	}
	tests := []struct {
		name        string
		here, there place
		level       int
		unknown     bool
	}{
		{"one file system", on("8:1", "sda"), on("8:1", "sda"), 0, false},
		{"two partitions of a disk", on("8:1", "sda"), on("8:2", "sda"), 1, false},
		{"two disks", on("8:1", "sda"), on("8:17", "sdb"), 2, false},
		{"a mirror over both disks", on("9:0", "sda", "sdb"), on("8:17", "sdb"), 1, false},
		{"a file system without a disk", on("8:1", "sda"), blind, 0, true},
		{"the same file system without a disk", blind, blind, 0, false},
		{"another machine", on("8:1", "sda"), at("nas", "192.0.2.1", false), 3, false},
		{"data on another machine, target here", at("db", "192.0.2.2", false), on("8:1", "sda"), 3, false},
		{"two other machines", at("db", "192.0.2.2", false), at("nas", "192.0.2.1", false), 3, false},
		{"two names of one machine", at("db", "192.0.2.2", false), at("nas", "192.0.2.2", false), 1, false},
		{"the same export", at("nas", "192.0.2.1", false, "nas:/e"), at("nas", "192.0.2.1", false, "nas:/e"), 0, false},
		{"an address of our own", on("8:1", "sda"), at("nas", "127.0.0.1", true), 0, true},
		{"a file system without a disk, target elsewhere", blind, at("nas", "192.0.2.1", false), 3, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := compare(tt.here, tt.there)
			if got.Unknown != tt.unknown || (!tt.unknown && got.Level != tt.level) {
				t.Errorf("got %+v, want L%d unknown=%v", got, tt.level, tt.unknown)
			}
		})
	}
}

func TestDeclared(t *testing.T) {
	measured := Separation{Level: LevelOtherHost, How: "other machine"}
	if got := declare(measured, Declared{Site: "Trung tâm dữ liệu"}); got.Level != levelOtherSite || !got.Declared {
		t.Errorf("another machine at another site: %+v", got)
	}
	if got := declare(Separation{Level: levelOtherDisk}, Declared{Site: "Trung tâm dữ liệu", System: "NAS"}); got.Level != levelOtherDisk || got.Declared {
		t.Errorf("a disk of this machine was declared away: %+v", got)
	}
	if got := declare(Separation{Unknown: true}, Declared{System: "NAS"}); got.Unknown || !got.Declared || got.Level != LevelOtherHost {
		t.Errorf("a declared system where nothing can be seen: %+v", got)
	}
	if got := declare(Separation{Unknown: true}, Declared{Site: "elsewhere"}); !got.Unknown {
		t.Errorf("a site without a machine: %+v", got)
	}
}

func TestNetworkMounts(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ fs, source, options, want string }{
		{"nfs4", "nas:/export/a", "vers=4.2,addr=192.0.2.7", "192.0.2.7"},
		{"nfs", "nas.example:/export/a", "vers=3", "nas.example"},
		{"nfs4", "[2001:db8::7]:/a", "", "2001:db8::7"},
		{"cifs", "//nas/share", "addr=192.0.2.8", "192.0.2.8"},
		{"cifs", "//nas/share", "", "nas"},
		{"fuse.sshfs", "u@host:/x", "", "host"},
		{"ext4", "/dev/sda1", "", ""},
	} {
		m := &mountinfo.Info{FSType: tt.fs, Source: tt.source, VFSOptions: tt.options, Mountpoint: dir}
		if got := serverOf(m); got != tt.want {
			t.Errorf("%s %s: server %q, want %q", tt.fs, tt.source, got, tt.want)
		}
		if tt.want == "" {
			continue
		}
		p := probe{sys: t.TempDir(), mounts: []*mountinfo.Info{m}, look: func(_ context.Context, name string) (host, error) {
			return host{name: name, addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}, nil
		}}
		var found place
		if err := p.anonymous(t.Context(), dir, "0:44", &found, 0); err != nil || found.host == nil || found.files[0] != tt.source {
			t.Errorf("%s %s: %+v, %v", tt.fs, tt.source, found, err)
		}
	}
}

func TestLookHost(t *testing.T) {
	h, err := lookHost(t.Context(), "127.0.0.1")
	if err != nil || !h.own || len(h.addrs) != 1 {
		t.Errorf("loop-back: %+v, %v", h, err)
	}
	h, err = lookHost(t.Context(), "192.0.2.1") // TEST-NET-1 (RFC 5737): nobody's
	if err != nil || h.own || h.String() != "host 192.0.2.1" {
		t.Errorf("an address that is not ours: %+v, %v", h, err)
	}
	got, err := separation(t.Context(), machine(), HostLocation("192.0.2.1"), Declared{}, []string{"/"})
	if err != nil || got.Unknown || got.Level != LevelOtherHost || got.Domain != "host 192.0.2.1" {
		t.Errorf("this machine's root to another machine: %+v, %v", got, err)
	}
	got, err = separation(t.Context(), machine(), HostLocation("127.0.0.1"), Declared{}, []string{"/"})
	if err != nil || !got.Unknown {
		t.Errorf("a loop-back address: %+v, %v", got, err)
	}
}
