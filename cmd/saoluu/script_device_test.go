package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"saoluu/targets/targettest"
)

// devices NAME... starts a real OpenSSH server behind which stand network devices: each
// has a key of its own, with which one gets "tools/device NAME" and nothing else. It fills
// in $SSHPORT and $SSHKEYS, the folder of the keys and of known_hosts.
func devicesCommand(ts *testscript.TestScript, neg bool, names []string) {
	if neg || len(names) == 0 {
		ts.Fatalf("usage: devices NAME...")
	}
	dir, err := os.MkdirTemp("", "saoluu-devices-") // short and passable
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	ts.Check(os.MkdirAll("/run/sshd", 0o755)) // where sshd separates its privileges
	allowed := ""
	for _, name := range append([]string{"host", "other-host"}, names...) {
		file := filepath.Join(dir, name)
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput(); err != nil {
			ts.Fatalf("%v: %s", err, out)
		}
		public, err := os.ReadFile(file + ".pub")
		ts.Check(err)
		allowed += fmt.Sprintf("command=%q %s", ts.MkAbs("tools/device")+" "+name, public)
	}
	port := targettest.FreePort(scriptT{ts})
	for _, known := range []string{"host", "other-host"} {
		public, err := os.ReadFile(filepath.Join(dir, known+".pub"))
		ts.Check(err)
		line := fmt.Sprintf("[127.0.0.1]:%d %s\n", port, strings.Join(strings.Fields(string(public))[:2], " "))
		ts.Check(os.WriteFile(filepath.Join(dir, "known_"+known), []byte(line), 0o600))
		ts.Check(os.WriteFile(filepath.Join(dir, "known_none"), []byte(strings.Replace(line, "127.0.0.1", "127.0.0.9", 1)), 0o600))
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "allowed"), []byte(allowed), 0o600))
	config := fmt.Sprintf("ListenAddress 127.0.0.1\nPort %d\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nPasswordAuthentication no\nUsePAM no\nPermitRootLogin yes\n",
		port, filepath.Join(dir, "host"), filepath.Join(dir, "allowed"))
	ts.Check(os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o600))
	replace(ts, strings.NewReplacer("$SSHPORT", fmt.Sprint(port), "$SSHKEYS", dir))
	sshd, err := lookPath("sshd", ts.Getenv("PATH")) // it starts itself again, by its whole path
	ts.Check(err)
	startCommand(ts, false, []string{"sshd", sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config")})
	waitforCommand(ts, false, []string{"sshd.err", "listening"})
}
