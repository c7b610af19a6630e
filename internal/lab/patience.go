package lab

import (
	"os"
	"strconv"
	"time"
)

// slowEnv says how many times slower than usual this machine is. The guests of
// scripts/vm have it set: what takes a millisecond here takes ten and more under
// emulation.
const slowEnv = "DNSPATH_SLOW"

// Slowness returns the factor by which this machine is slower than those that
// time limits and loads are made for: DNSPATH_SLOW, or 1.
func Slowness() int {
	if n, err := strconv.Atoi(os.Getenv(slowEnv)); err == nil {
		return max(n, 1)
	}
	return 1
}

// Patience returns a time limit for this machine: d times its slowness. It is
// for what ends early when all is well, and what an outcome may hang on.
func Patience(d time.Duration) time.Duration { return d * time.Duration(Slowness()) }

// Share returns the part of a load, in lookups or lookups a second, that this
// machine can bear: n by its slowness.
func Share(n int) int { return max(n/Slowness(), 1) }

// oneGuest is the kernel on which tests run that take too long for all.
const oneGuest = "6.12"

// NotHere says why a test that takes long is left out here: of the guests, whose
// time is dear, one runs it. Empty: it is to run. DNSPATH_ALL=1 runs it everywhere.
func NotHere() string {
	if Slowness() == 1 || os.Getenv("DNSPATH_ALL") != "" || os.Getenv(guestEnv) == oneGuest {
		return ""
	}
	return "of the guests, that with Linux " + oneGuest + " runs it"
}
