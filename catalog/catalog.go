// Package catalog keeps events and the tables derived from them. Append is the
// one write API: it writes the ledger entry and the rows in one transaction.
// The tables are an index; Rebuild replays the ledger into the same rows.
package catalog
