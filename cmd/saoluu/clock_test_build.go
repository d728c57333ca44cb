//go:build saoluu_testclock

package main

import (
	"os"
	"strings"
	"time"
)

// clockNow returns a wall clock moved by the duration in the file that
// SAOLUU_TEST_CLOCK names. It exists only in builds for tests: the released
// program has no way to be told another time than the machine's.
func clockNow() func() time.Time {
	file := os.Getenv("SAOLUU_TEST_CLOCK")
	return func() time.Time {
		text, err := os.ReadFile(file)
		if err != nil {
			return time.Now()
		}
		offset, err := time.ParseDuration(strings.TrimSpace(string(text)))
		if err != nil {
			return time.Now()
		}
		return time.Now().Add(offset)
	}
}
