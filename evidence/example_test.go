package evidence_test

import (
	"fmt"

	"saoluu/evidence"
)

// An entry, its proof and the site's public key are all it takes.
func ExampleVerifyEntry() {
	entry := `{"at":"2026-11-22T18:00:03Z","body":{},"kind":"beat","seq":1,"v":1}`
	key := `saoluu/STP-HD+0ef9f518+AVBkKyktAcl+RbVZ3PldfcOoHKZCgnEPfynqVQjQxqcS`
	proof := `c2sp.org/tlog-proof@v1
index 1
OaGBkvw03wyyshdQ8AkVQd6n+UBveOUGYRB8B5A2eZc=

saoluu/STP-HD
2
UuzKOKwFWgT8GFUUiWx6u0Swi3IcR0VgcNDnFs/qmh4=

— saoluu/STP-HD Dvn1GFqgGvz/SXGl+LRNtYeZbCCzmQ9z0F3cQidhSh3GOx7r/WICx90bQmWUmNNSuYZRw24uKURyNj+tqeGu/BIbuAM=
`
	e, c, err := evidence.VerifyEntry([]byte(entry), []byte(proof), key)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s of %s is entry %d of a ledger of %d\n", e.Kind, c.Origin, e.Seq, c.Size)
	// Output: beat of saoluu/STP-HD is entry 1 of a ledger of 2
}
