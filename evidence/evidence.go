// Package evidence is the format of what saoluu can prove, and the code that
// writes and verifies it. Verification needs nothing but bytes: no
// configuration, no network, no clock.
//
// # Ledger entry
//
// An entry is one line of canonical JSON without a newline:
//
//	{"at":"2026-11-22T18:00:03Z","body":{…},"kind":"run-finished","seq":42,"v":1}
//
// Canonical JSON is UTF-8 without insignificant white space. The members of an
// object are sorted by the bytes of their names, and no name occurs twice. In
// strings only the quotation mark, the reverse solidus and U+0000 to U+001F are
// escaped, as \" \\ \b \t \n \f \r and otherwise \u00xx in lower case; all
// else, < and > included, stands for itself. Whole numbers are decimal, without
// plus sign, leading zero, fraction or exponent; other numbers have the shortest
// form that reads back to the same IEEE 754 double, as ECMAScript prints it.
// "at" is the time of writing in UTC with whole seconds; "seq" counts entries
// from 0; "kind" is made of a-z, 0-9 and hyphens; "body" is an object whose
// members belong to the kind; "v" is the version of this format. Any other
// spelling of the same entry is malformed, so one entry has one digest.
//
// # Tree
//
// The entries are the leaves of a Merkle tree as in RFC 6962 section 2.1 with
// SHA-256: a leaf is SHA-256(0x00 || entry), a node SHA-256(0x01 || left ||
// right). The leaf index is the entry's "seq".
//
// # Checkpoint
//
// A checkpoint (c2sp.org/tlog-checkpoint) states a size of the log and the root
// of its tree, signed as a note (c2sp.org/signed-note) with Ed25519:
//
//	saoluu/STP-HD
//	20852163
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//
//	— saoluu/STP-HD Az3grlgt…
//
// The first line is the origin: "saoluu/" and the code of the site. Whoever has
// kept one checkpoint can tell later whether anything before it was changed,
// removed or put in.
//
// # Proof
//
// A proof (c2sp.org/tlog-proof) says that an entry is in the tree of a
// checkpoint: the leaf index, the hashes of the inclusion proof from leaf to
// root, an empty line, and the checkpoint word for word:
//
//	c2sp.org/tlog-proof@v1
//	index 42
//	gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
//
//	saoluu/STP-HD
//	…
//
// # Bundle
//
// A bundle is a zip file about one entry that a stranger can verify with
// sha256sum and ssh-keygen alone. See Bundle and VerifyBundle.
package evidence
