// Package rules holds the rules of this repository that a test can hold: who may
// import whom, what only one package may do, what the unit file and the scripts
// promise. It has no code of its own, only tests. Each rule says where it comes
// from, and each has a test that shows it biting.
//
// The same rules are in .golangci.yml for those who have that linter; these run
// everywhere Go does, in a second.
package rules
