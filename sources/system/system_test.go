package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

func TestFstab(t *testing.T) {
	got := fstab("# a comment\n\nUUID=a /\text4 defaults 0 1\nLABEL=\"b\" /srv/v\\303\\040n\\040kho xfs noauto\nUUID=c none swap\n//nas/x /mnt cifs\tro,nofail 0 0\nbroken\n")
	want := []entry{
		{"UUID=a", "/", "ext4", "defaults"}, {"LABEL=b", "/srv/v\\303 n kho", "xfs", "noauto"},
		{"UUID=c", "none", "swap", "defaults"}, {"//nas/x", "/mnt", "cifs", "ro,nofail"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		t.Error(diff)
	}
	for n, optional := range []bool{false, true, false, true} {
		if got[n].optional() != optional {
			t.Errorf("%+v: optional is %v", got[n], !optional)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct{ root, point, want string }{
		{"/", "/", "/"}, {"/", "/boot", "/boot"}, {"/mnt/sys", "/mnt/sys/boot", "/boot"},
		{"/mnt/sys", "/mnt/system", ""}, {"/mnt/sys", "/", ""},
	} {
		got, ok := within(c.root, c.point)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%q in %q: %q %v, want %q", c.point, c.root, got, ok, c.want)
		}
	}
}

// What we write ourselves is left out wherever it lies: a target that is a bound folder of
// the system would be saved into itself.
func TestInside(t *testing.T) {
	s := System{Root: "/", table: []*mountinfo.Info{
		{Mountpoint: "/", Root: "/@", Minor: 1}, {Mountpoint: "/data", Root: "/", Minor: 2},
		{Mountpoint: "/nowhere/backup", Root: "/store/backup", Minor: 2}, {Mountpoint: "/nowhere/nas", Root: "/", Minor: 3},
	}, Mounts: []Mount{{At: "/", Inside: "/@", number: [2]int{0, 1}}, {At: "/data", Inside: "/", number: [2]int{0, 2}}}}
	for path, want := range map[string][]string{
		"/nowhere/a":          {"/nowhere/a"},
		"/nowhere/backup/x":   {"/data/store/backup/x", "/nowhere/backup/x"},
		"/nowhere/nas/saoluu": {"/nowhere/nas/saoluu"},
	} {
		if diff := cmp.Diff(want, s.Inside(path)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	other := System{Root: "/mnt/sys", table: s.table, Mounts: []Mount{{At: "/", Inside: "/@", number: [2]int{0, 1}}}}
	if got := other.Inside("/nowhere/a"); len(got) != 1 || got[0] != "/nowhere/a" {
		t.Errorf("the same file system at another place: %q", got)
	}
}

func TestSubvolumesThatAreShown(t *testing.T) {
	volumes := map[string]Subvolume{}
	for id, path := range []string{"", "@", "@home", "@/srv", "@/srv/deep", "@/var/lib/machines", "@/.snapshots", "@/.snapshots/1/snapshot", "@/.snapshots/1/snapshot/x", "@/tmp"} {
		volumes[path] = Subvolume{ID: uint64(id), Path: path}
	}
	all := []Mount{
		{At: "/", Type: TypeBtrfs, Source: "a", Inside: "/@"}, {At: "/home", Type: TypeBtrfs, Source: "a", Inside: "/@home"},
		{At: "/tmp", Type: TypeBtrfs, Source: "a", Inside: "/@/tmp"}, {At: "/var", Type: "ext4", Source: "b", Inside: "/"},
	}
	shown, history := below(all[0], all, volumes, map[uint64]bool{7: true})
	var got []string
	for _, v := range shown {
		got = append(got, v.Path+" at "+v.At)
	}
	for _, v := range history {
		got = append(got, "history "+v.Path)
	}
	// /var hides @/var/lib/machines, and @/tmp is mounted by itself.
	want := []string{"@ at /", "@/srv at /srv", "@/srv/deep at /srv/deep", "@/.snapshots at /.snapshots", "history @/.snapshots/1/snapshot"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	top, _ := below(Mount{At: "/", Type: TypeBtrfs, Source: "a", Inside: "/"}, all[:1], volumes, nil)
	if len(top) != len(volumes) {
		t.Errorf("the top shows %d subvolumes, want %d", len(top), len(volumes))
	}
}

func TestHowAFileSystemWasMade(t *testing.T) {
	ext := madeExt("Filesystem features:      has_journal needs_recovery 64bit\nInode size:\t          256\nInode count:              65536\nBlock size:               4096\n")
	if diff := cmp.Diff(Made{Block: 4096, Inode: 256, Inodes: 65536, Features: []string{"has_journal", "64bit"}}, ext); diff != "" {
		t.Error(diff)
	}
	head := make([]byte, 512)
	head[11], head[12], head[13] = 0, 2, 8 // sectors of 512 bytes, 8 a cluster
	for mark, want := range map[string]Made{"FAT32": {Block: 4096, FAT: 32}, "": {Block: 4096, FAT: 16}} {
		copy(head[82:87], mark+"\x00\x00\x00\x00\x00")
		if diff := cmp.Diff(want, madeFAT(head)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestFeaturesOfXFS(t *testing.T) {
	for options, want := range map[string][]string{
		"finobt=1,reflink=1,inobtcount=1,bigtime=1 sparse=1,nrext64=0": {"bigtime", "finobt", "inobtcount", "reflink", "sparse"},
		"finobt=1,reflink=0,inobtcount=0,bigtime=0 sparse=0,nrext64=1": {"finobt", "nrext64"},
	} {
		image := filepath.Join(t.TempDir(), "xfs")
		meta, inodes, _ := strings.Cut(options, " ")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 320<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfs.xfs", "-q", "-m", meta, "-i", inodes, image).CombinedOutput(); err != nil {
			if os.Getenv("SAOLUU_MUST_RUN") == "" {
				t.Skip("no mkfs.xfs that knows them")
			}
			t.Fatalf("%v: %s", err, out)
		}
		got, err := madeXFS(image)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Made{Block: 4096, Inode: 512, Features: want}, got); diff != "" {
			t.Errorf("%s: %s", options, diff)
		}
	}
}

func TestWhatIsNoSystem(t *testing.T) {
	row := func(kind string) []*mountinfo.Info { return []*mountinfo.Info{{Mountpoint: "/r", FSType: kind, ID: 1}} }
	for kind, want := range map[string]string{"overlay": "container", "tmpfs": "no disk", "nfs4": "no disk"} {
		_, _, _, err := mounts("/r", row(kind))
		if fault.KindOf(err) != fault.Refused || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, _, _, err := mounts("/elsewhere", row("ext4")); fault.KindOf(err) != fault.Refused {
		t.Errorf("nothing is mounted there: %v", err)
	}
}

// A zfsDrill is an ext4 that is taken for a dataset of ZFS, which few kernels have.
type zfsDrill struct{ root, dir, log string }

func newZFS(t *testing.T) (zfsDrill, []*mountinfo.Info) {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv("SAOLUU_MUST_RUN") == "" {
		t.Skip("only root can mount")
	}
	base := t.TempDir()
	d := zfsDrill{filepath.Join(base, "sys"), filepath.Join(base, "run-1"), filepath.Join(base, "log")}
	image := filepath.Join(base, "disk.img")
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = base
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("mkdir sys run-1 bin; truncate -s 24M disk.img; echo 'start=2048,type=83' | sfdisk -q disk.img")
	device := run("losetup --find --show --offset 1048576 disk.img")
	t.Cleanup(func() {
		if err := unix.Unmount(d.root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		if out, err := exec.Command("losetup", "-d", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	run("mkfs.ext4 -q " + device + "; mount " + device + " sys; mkdir -p sys/etc sys/.zfs/snapshot; echo before > sys/etc/motd")
	zfs := `#!/bin/sh
echo "zfs $*" >> ` + d.log + `
for last; do :; done
at=` + d.root + `/.zfs/snapshot/${last#*@}
case $1 in
snapshot) mkdir $at && cp -a ` + d.root + `/etc $at/ ;;
list) test -d $at ;;
destroy) rm -r $at ;;
esac
`
	pool := "#!/bin/sh\nprintf 'rpool\\t928G\\n\\t" + device + "\\t928G\\n'\n"
	for name, text := range map[string]string{"zfs": zfs, "zpool": pool} {
		if err := os.WriteFile(filepath.Join(base, "bin", name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", filepath.Join(base, "bin")+":"+os.Getenv("PATH"))
	table, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(d.root))
	if err != nil || len(table) != 1 {
		t.Fatal(image, table, err)
	}
	table[0].FSType, table[0].Source = TypeZFS, "rpool/ROOT/debian"
	return d, table
}

// motd is what the held system says, and whether a snapshot is there.
func (d zfsDrill) state(t *testing.T) (motd string, snapshots int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, treeFolder, "etc/motd"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	all, err := os.ReadDir(filepath.Join(d.root, ".zfs/snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), len(all)
}

func TestZFS(t *testing.T) {
	d, table := newZFS(t)
	for _, end := range []string{"released", "killed"} {
		t.Run(end, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(d.root, "etc/motd"), []byte("before"), 0o644); err != nil {
				t.Fatal(err)
			}
			s, err := look(t.Context(), d.root, table)
			if err != nil {
				t.Fatal(err)
			}
			h, err := s.Hold(t.Context(), How{Consistency: Snapshot, Dir: d.dir})
			if err != nil {
				t.Fatal(err, h.Release())
			}
			if err := os.WriteFile(filepath.Join(d.root, "etc/motd"), []byte("after"), 0o644); err != nil {
				t.Fatal(err)
			}
			if motd, n := d.state(t); motd != "before" || n != 1 {
				t.Errorf("held: %q, %d snapshots", motd, n)
			}
			layout := t.TempDir()
			if _, err := h.Describe(t.Context(), layout); err != nil {
				t.Fatal(err)
			}
			if f := h.Layout.At("/"); f == nil || f.Type != typeZFSMember || f.Partition != 1 {
				t.Errorf("layout: %+v", f)
			}
			if end == "released" {
				err = h.Release()
			} else {
				err = CleanUp(t.Context(), d.dir)
			}
			if motd, n := d.state(t); err != nil || motd != "" || n != 0 {
				t.Errorf("%s: %q, %d snapshots, %v", end, motd, n, err)
			}
			if err := os.Remove(filepath.Join(d.dir, treeFolder)); err != nil {
				t.Error(err)
			}
		})
	}
	text, err := os.ReadFile(d.log)
	if err != nil || !strings.Contains(string(text), "zfs snapshot rpool/ROOT/debian@saoluu-run-1\n") || !strings.Contains(string(text), "zfs destroy rpool/ROOT/debian@saoluu-run-1\n") {
		t.Errorf("%s %v", text, err)
	}
}
