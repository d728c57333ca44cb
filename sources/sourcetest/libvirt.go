package sourcetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/command"
)

// StartLibvirt starts a libvirt daemon that ends with the test, and a machine "qlvb" in
// it with a raw disk as "vda". It returns the daemon's address. Both run as root, in
// folders of their own, so that nothing of this machine's libvirt is touched. Without the
// programs the test is skipped, unless SAOLUU_MUST_RUN is set.
func StartLibvirt(t *testing.T, disk string) (uri string) {
	t.Helper()
	for _, name := range []string{"libvirtd", "virsh", "qemu-system-x86_64"} {
		if _, err := command.LookPath(name); err != nil {
			Missing(t, err)
		}
	}
	if os.Geteuid() != 0 {
		Missing(t, errors.New("only root gives libvirt folders of its own"))
	}
	dir, err := os.MkdirTemp("", "lv-") // short, for its sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, text := range map[string]string{"start": libvirtStart, "libvirtd.conf": libvirtConf, "qlvb.xml": libvirtDomain} {
		text = strings.NewReplacer("%DIR%", dir, "%DISK%", disk).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.WithoutCancel(t.Context())
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	daemon, err := command.Start(ctx, command.Cmd{Argv: []string{"/usr/bin/unshare", "--mount", "/bin/sh", filepath.Join(dir, "start")}, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	uri = "qemu+unix:///system?socket=" + dir + "/libvirt-sock"
	virsh := func(args ...string) error {
		_, err := command.Run(ctx, command.Cmd{Argv: append([]string{"/usr/bin/virsh", "--connect", uri}, args...), Env: env})
		return err
	}
	t.Cleanup(func() {
		_ = virsh("destroy", "qlvb")
		_ = daemon.Stop(5 * time.Second)
	})
	for range 200 {
		if err = virsh("create", filepath.Join(dir, "qlvb.xml")); err == nil {
			return uri
		}
		select {
		case <-daemon.Done():
			_, err := daemon.Wait()
			t.Fatal(err)
		case <-time.After(100 * time.Millisecond):
		}
		if _, missing := os.Stat(dir + "/libvirt-sock"); missing == nil && !strings.Contains(err.Error(), "onnect") {
			break
		}
	}
	t.Fatal(err)
	return ""
}

// libvirtStart gives libvirt folders of its own, and the user that Debian's names.
const libvirtStart = `set -e
for f in passwd group; do cp /etc/$f %DIR%/$f; done
grep -q ^libvirt-qemu: %DIR%/passwd || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>%DIR%/passwd
grep -q ^libvirt-qemu: %DIR%/group || echo 'libvirt-qemu:x:64055:' >>%DIR%/group
for f in passwd group; do mount --bind %DIR%/$f /etc/$f; done
mount -t tmpfs lib /var/lib
mkdir -p /etc/libvirt /var/lib/libvirt /run/libvirt /var/cache/libvirt
for d in /etc/libvirt /run/libvirt /var/cache/libvirt; do mount -t tmpfs libvirt $d; done
cat >/etc/libvirt/qemu.conf <<C
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
remember_owner = 0
namespaces = []
stdio_handler = "file"
C
exec libvirtd --config %DIR%/libvirtd.conf --pid-file %DIR%/pid
`

const libvirtConf = `unix_sock_dir = "%DIR%"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:file:%DIR%/log"
`

const libvirtDomain = `<domain type='qemu'><name>qlvb</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%DISK%'/><target dev='vda' bus='virtio'/></disk>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>
`
