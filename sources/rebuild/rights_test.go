package rebuild

import (
	"strings"
	"testing"

	"saoluu/internal/fault"
)

func TestRights(t *testing.T) {
	if err := lacking("Name:\tx\nCapEff:\t000001ffffffffff\n"); err != nil {
		t.Errorf("root: %v", err)
	}
	err := lacking("CapEff:\t0000000000200004\n") // of the shipped unit, and CAP_SYS_ADMIN
	if fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), "CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP") || strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
		t.Errorf("a service: %v", err)
	}
	if err := lacking(""); fault.KindOf(err) != fault.Denied {
		t.Errorf("nothing known: %v", err)
	}
}
