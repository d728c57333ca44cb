package config

import "fmt"

// Guest names a disk of a virtual machine that QEMU runs on this machine: by qmp and
// device, or, of one that libvirt runs, by domain and disk. It is saved as it was at one
// moment while the guest goes on.
type Guest struct {
	// Absolute path of QEMU's control socket, one for saoluu alone: QEMU was started
	// with -qmp unix:PATH,server=on,wait=off.
	// Example: qmp = "/run/qemu/qlvb-saoluu.sock"
	QMP string `toml:"qmp,omitempty"`

	// The disk, with qmp: the id of its -drive or -device, or the name of its node. The
	// command "info block" of QEMU's monitor lists them.
	// Example: device = "drive0"
	Device string `toml:"device,omitempty"`

	// The machine's name in libvirt, as "virsh list" shows it.
	// Example: domain = "qlvb"
	Domain string `toml:"domain,omitempty"`

	// The disk, with domain: its target, as "virsh domblklist" shows it.
	// Example: disk = "vda"
	Disk string `toml:"disk,omitempty"`

	// Where libvirt is, with domain; qemu:///system by default.
	// Example: uri = "qemu:///system"
	URI string `toml:"uri,omitempty"`

	// Absolute path of the socket of the guest agent's channel, with qmp; libvirt has its
	// own. Where an agent answers,
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
	c.machine(s.Guest, g)
}

// machine checks that a machine and its disk are named in one of both ways.
func (c checker) machine(m *Guest, g *node) {
	ours, others, way := []string{"qmp", "device"}, []string{"domain", "disk", "uri"}, "qmp"
	if len(g.written("domain")) > 0 {
		ours, others, way = []string{"domain", "disk"}, []string{"qmp", "device", "agent"}, "domain"
	}
	if said := g.written(others...); len(said) > 0 {
		c.tell(g, said[0], fmt.Sprintf("%q does not go with %s", said[0], way), "name the machine by qmp and device, or by domain and disk")
	}
	c.absolute(g, "qmp", m.QMP)
	c.absolute(g, "agent", m.Agent)
	for _, key := range ours {
		if len(g.written(key)) == 0 {
			c.problem(g.at, fmt.Sprintf("%q is missing", key), "name the machine by qmp and device, or by domain and disk")
		}
	}
	for key, value := range map[string]string{"device": m.Device, "domain": m.Domain, "disk": m.Disk, "uri": m.URI} {
		if g.good(key) && len(g.written(key)) > 0 && (value == "" || value[0] == '-') {
			c.tell(g, key, fmt.Sprintf("%q cannot be a name", value), `see "info block" of QEMU's monitor, "virsh list" and "virsh domblklist"`)
		}
	}
}
