package lab

import (
	"os"
	"slices"
	"strconv"
	"strings"
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

// Which of the guests, whose time is dear, run a test: one, if it takes long (this or
// that, so that none has them all), and some, if what it tests is, or may be, another
// thing on old kernels than on new ones.
var (
	OneGuest     = []string{"6.12"}
	AnotherGuest = []string{"6.18"}
	SomeGuests   = []string{"5.10", "6.12", "7.2"}
)

// NotHere says why a test is left out here that some of the guests run. Empty: it is
// to run. DNSPATH_ALL=1 runs it everywhere.
func NotHere(guests []string) string {
	if Slowness() == 1 || os.Getenv("DNSPATH_ALL") != "" || slices.Contains(guests, os.Getenv(guestEnv)) {
		return ""
	}
	return "of the guests, those run it that have Linux " + strings.Join(guests, ", ")
}
