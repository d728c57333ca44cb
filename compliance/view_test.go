package compliance

import "saoluu/catalog"

var (
	_ View        = (*catalog.Catalog)(nil)
	_ View        = (*scenario)(nil)
	_ PostureView = (*catalog.Catalog)(nil)
)
