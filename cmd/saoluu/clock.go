//go:build !saoluu_testclock

package main

import "time"

// clockNow returns the wall clock.
func clockNow() func() time.Time { return time.Now }
