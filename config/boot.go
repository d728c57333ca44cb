package config

import (
	"fmt"
	"regexp"
	"strings"
)

// leastMemory is what a machine needs to boot anything.
const leastMemory = 64 << 20

// bootCheck checks how a disk is booted. A marker that is found in nothing at all would
// call every machine up.
func (c checker) bootCheck(k *Check, n *node, kind, subject string) {
	details := n.written("boot_firmware", "boot_bus", "boot_memory", "boot_limit", "boot_picture", "boot_run", "boot_expect", "boot_login", "boot_password")
	switch {
	case kind == "image" && subject == "min_files":
		c.tell(n, subject, "nobody counts the files of an image", "use boot, exists, sha256 or run")
	case subject != "boot" && len(details) > 0:
		c.tell(n, details[0], fmt.Sprintf("%q goes with boot, not with %s", details[0], subject), "remove it")
	case subject == "boot" && kind != "image" && kind != "":
		c.tell(n, "boot", fmt.Sprintf("a %s source is no disk that could boot", kind), "remove it")
	case subject == "boot" && n.good("boot"):
		marker, err := regexp.Compile(k.Boot)
		if err != nil {
			c.tell(n, "boot", fmt.Sprintf("not a regular expression: %v", err), "see the syntax of RE2, or write \"default\"")
		} else if marker.MatchString("") {
			c.tell(n, "boot", "the expression is met by a machine that says nothing", "write what only a machine says that is up")
		}
	}
	if n.good("boot_memory") && subject == "boot" && k.BootMemory > 0 && k.BootMemory < leastMemory {
		c.tell(n, "boot_memory", "no machine boots in less than 64MiB", "write more")
	}
	c.absolute(n, "boot_picture", k.BootPicture)
	if subject == "boot" {
		c.bootRun(k, n)
	}
}

// bootRun checks the program that is run in a booted machine.
func (c checker) bootRun(k *Check, n *node) {
	for _, pair := range [][2]string{{"boot_expect", "boot_run"}, {"boot_login", "boot_run"}, {"boot_password", "boot_login"}} {
		if len(n.written(pair[0])) > 0 && len(n.written(pair[1])) == 0 {
			c.tell(n, pair[0], fmt.Sprintf("%q goes with %s", pair[0], pair[1]), "add that, or remove it")
		}
	}
	if n.good("boot_run") && (len(k.BootRun) == 0 || k.BootRun[0] == "") {
		c.tell(n, "boot_run", "no program is named to run", "write the program, then its arguments")
	}
	if n.good("boot_login") && (k.BootLogin == "" || strings.ContainsAny(k.BootLogin, " \t\r\n")) {
		c.tell(n, "boot_login", fmt.Sprintf("%q is nobody's name", k.BootLogin), "write who is logged in, such as root")
	}
	if !n.good("boot_expect") {
		return
	}
	if expect, err := regexp.Compile("(?m)" + k.BootExpect); err != nil {
		c.tell(n, "boot_expect", fmt.Sprintf("not a regular expression: %v", err), "see the syntax of RE2")
	} else if expect.MatchString("") {
		c.tell(n, "boot_expect", "the expression is met by a program that says nothing", "write what only a program says that found what it should")
	}
}
