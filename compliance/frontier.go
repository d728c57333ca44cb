package compliance

import "golang.org/x/mod/sumdb/tlog"

// A frontier computes the root of a Merkle tree (RFC 6962) leaf by leaf: it
// keeps the roots of the full subtrees, largest first.
type frontier struct {
	size  int64
	roots []tlog.Hash
}

func (f *frontier) add(leaf tlog.Hash) {
	f.roots = append(f.roots, leaf)
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.roots) - 1
		f.roots[last-1] = tlog.NodeHash(f.roots[last-1], f.roots[last])
		f.roots = f.roots[:last]
	}
	f.size++
}

// root returns the root so far; of no leaves at all it is the zero hash.
func (f *frontier) root() tlog.Hash {
	if len(f.roots) == 0 {
		return tlog.Hash{}
	}
	root := f.roots[len(f.roots)-1]
	for i := len(f.roots) - 2; i >= 0; i-- {
		root = tlog.NodeHash(f.roots[i], root)
	}
	return root
}
