package config

import "fmt"

// Guest names a disk of a virtual machine that QEMU runs on this machine. It is saved as
// it was at one moment while the guest goes on.
type Guest struct {
	// Absolute path of QEMU's control socket, one for saoluu alone: QEMU was started
	// with -qmp unix:PATH,server=on,wait=off.
	// Example: qmp = "/run/qemu/qlvb-saoluu.sock"
	QMP string `toml:"qmp" need:"true"`

	// The disk: the id of its -drive or -device, or the name of its node. The command
	// "info block" of QEMU's monitor lists them.
	// Example: device = "drive0"
	Device string `toml:"device" need:"true"`

	// Absolute path of the socket of the guest agent's channel. Where an agent answers,
	// the file systems of the guest are brought to rest for the moment that is saved.
	// Example: agent = "/run/qemu/qlvb-agent.sock"
	Agent string `toml:"agent,omitempty"`
}

// image checks which disk is read, and that it is named once.
func (c checker) image(j *Job, s *Source, n *node) {
	g := n.inner("guest")
	switch said := n.written("path", "guest"); len(said) {
	case 0:
		c.problem(n.at, "nothing says which disk is saved", "set path, or guest for that of a running virtual machine")
	case 1:
		if g == nil && n.good("path") {
			c.apart(j, n, "path", s.Path)
		}
	default:
		c.problem(n.at, "path and guest exclude each other", "keep guest for a virtual machine that runs, path for a disk that nobody writes to")
	}
	if g == nil {
		return
	}
	if n.good("consistency") && s.Consistency != "snapshot" {
		c.tell(n, "consistency", fmt.Sprintf("the disk of a running virtual machine is not read with consistency %q", s.Consistency), "remove it, or write snapshot")
	}
	c.absolute(g, "qmp", s.Guest.QMP)
	c.absolute(g, "agent", s.Guest.Agent)
	if g.good("device") && s.Guest.Device == "" {
		c.tell(g, "device", "no disk is named", `write its id, as "info block" of QEMU's monitor lists it`)
	}
}
