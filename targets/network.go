package targets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"saoluu/internal/fault"
)

// A host is another machine as this one sees it: a name and what it resolves to.
type host struct {
	name  string
	addrs []netip.Addr // sorted, without repetition
	own   bool         // an address of this very machine
}

// lookHost resolves a name and compares it with the addresses of this machine's
// interfaces. A loop-back address, or one of our own, says nothing of where data
// lie: a tunnel or a container may listen there.
func lookHost(ctx context.Context, name string) (host, error) {
	h := host{name: name}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return h, fmt.Errorf("resolve %q: %w", name, err)
	}
	for _, a := range found {
		h.addrs = append(h.addrs, a.Unmap().WithZone(""))
	}
	slices.SortFunc(h.addrs, netip.Addr.Compare)
	h.addrs = slices.Compact(h.addrs)
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return h, fmt.Errorf("list the addresses of this machine: %w", err)
	}
	for _, a := range h.addrs {
		h.own = h.own || a.IsLoopback() || slices.ContainsFunc(ours, func(o net.Addr) bool {
			p, err := netip.ParsePrefix(o.String())
			return err == nil && p.Addr().Unmap() == a
		})
	}
	return h, nil
}

// same reports whether two names lead to one machine.
func (h host) same(other host) bool {
	return slices.ContainsFunc(h.addrs, func(a netip.Addr) bool { return slices.Contains(other.addrs, a) })
}

// String shows the name and what it resolved to, for the record.
func (h host) String() string {
	var at []string
	for _, a := range h.addrs {
		if s := a.String(); s != h.name {
			at = append(at, s)
		}
	}
	if len(at) == 0 {
		return "host " + h.name
	}
	return fmt.Sprintf("host %s (%s)", h.name, strings.Join(at, ", "))
}

// netFault classes an error of the network below a target.
func netFault(target string, err error) error {
	op := fmt.Sprintf("target %q", target)
	var dns *net.DNSError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case isCertificate(err):
		return fault.New(fault.WrongTarget, op, err, "the server's certificate is not the one expected: compare its name and issuer, or set ca to the file of your own authority")
	case errors.As(err, &dns) && dns.IsNotFound:
		return fault.New(fault.Absent, op, err, "correct the host name, or see whether name resolution works")
	default:
		return fault.New(fault.Absent, op, err, "see whether the server is up and can be reached from here")
	}
}
