package nodestate

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

// sample is what the counters of a namespace said at some time.
type sample struct {
	begin, end uint64   // of reading them; ns, CLOCK_MONOTONIC
	names      []string // shared by samples
	values     []uint64
}

// readCounters reads all counters of the namespace that this thread is in.
func readCounters() (*sample, error) {
	s := &sample{begin: monotonic()}
	for _, file := range []struct {
		name  string
		parse func(*sample, []byte)
	}{
		{"snmp", (*sample).parsePairs}, {"netstat", (*sample).parsePairs}, {"snmp6", (*sample).parseLines},
	} {
		// Not /proc/net: that is the namespace of the process's first thread.
		text, err := os.ReadFile("/proc/thread-self/net/" + file.name)
		if errors.Is(err, fs.ErrNotExist) { // without IPv6
			continue
		}
		if err != nil {
			return nil, err
		}
		file.parse(s, text)
	}
	s.end = monotonic()
	return s, nil
}

// parsePairs reads pairs of lines: "Udp: InDatagrams NoPorts", "Udp: 12 0". Types
// of ICMP are left out, since those that were never seen are not listed, and so
// is what multipath TCP counts.
func (s *sample) parsePairs(text []byte) {
	lines := strings.Split(string(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || len(names) != len(values) || names[0] != values[0] || names[0] == "IcmpMsg:" || names[0] == "MPTcpExt:" {
			continue
		}
		group := strings.TrimSuffix(names[0], ":")
		for j := 1; j < len(names); j++ {
			s.add(group+names[j], values[j])
		}
	}
}

// parseLines reads lines of a name and a number.
func (s *sample) parseLines(text []byte) {
	for line := range bytes.Lines(text) {
		if fields := strings.Fields(string(line)); len(fields) == 2 && !strings.Contains(fields[0], "Type") {
			s.add(fields[0], fields[1])
		}
	}
}

// settings are what is listed among the counters, but counts nothing.
var settings = []string{"IpForwarding", "IpDefaultTTL", "TcpRtoAlgorithm", "TcpRtoMin", "TcpRtoMax", "TcpMaxConn", "TcpCurrEstab"}

func (s *sample) add(name, value string) {
	if n, err := strconv.ParseUint(value, 10, 64); err == nil && !slices.Contains(settings, name) {
		s.names, s.values = append(s.names, name), append(s.values, n)
	}
}

// share has a sample share what it has in common with the one before it.
func (s *sample) share(before *sample) {
	if before == nil {
		return
	}
	if slices.Equal(s.names, before.names) {
		s.names = before.names
	}
	if slices.Equal(s.values, before.values) {
		s.values = before.values
	}
}

// follows reports whether a sample may be of the same namespace as one before it:
// counters never fall.
func (s *sample) follows(before *sample) bool {
	if len(s.values) != len(before.values) {
		return false
	}
	for i, v := range s.values {
		if v < before.values[i] {
			return false
		}
	}
	return true
}

// since returns by how much counters rose since a sample of the same namespace.
func (s *sample) since(before *sample) *diagnose.Counters {
	rose := make(map[string]uint64, len(s.values))
	for i, v := range s.values {
		if w := before.values[i]; v >= w {
			rose[s.names[i]] = v - w
		}
	}
	return &diagnose.Counters{From: before.end, To: s.begin, Rose: rose}
}

// monotonic is the clock of events.
func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
