package lab

import (
	"strconv"
	"strings"
	"time"
)

// Noise: how many of a hundred flows end with a client that gives up, and which
// part of connections and queries do.
const (
	goesUDP   = 6
	goesTCP   = 0.06
	asksAgain = 0.4 // of the queries, if no answer comes
)

// The wait of those that ask again: longer than most slow answers take, so that
// it is mostly for loss.
const (
	noiseAgainMin = 300 * time.Millisecond
	noiseAgainMax = 700 * time.Millisecond
)

// noise picks what a server makes of an ordinary lookup, by a number below 100.
func (p *mixedPlanner) noise(n int) string {
	switch {
	case n < 14:
		return "NXDOMAIN"
	case n < 20:
		return "SERVFAIL"
	case n < 22:
		return "REFUSED"
	case n < 28:
		return planSlow
	}
	return "NOERROR"
}

// slow returns the first label of a name whose server takes its time.
func (p *mixedPlanner) slow() string {
	return "slow" + strconv.FormatInt(p.between(100*time.Millisecond, 500*time.Millisecond).Milliseconds(), 10)
}

// patience is when a client gives up that asks for a slow name: well before the
// answer comes.
func (p *mixedPlanner) patience(name string) time.Duration {
	label, _, _ := strings.Cut(name, ".")
	ms, _ := suffixNumber(label, "slow")
	return time.Duration(float64(ms) * (0.1 + 0.6*p.rand.Float64()) * float64(time.Millisecond))
}
