//go:build crosscheck

package tracer

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// How many packets are compared. eventsEnv names an export with events ("dnspath
// trace -o json --events"): half of the packets are then of those that it saw.
const (
	crosscheckPackets = 10000
	eventsEnv         = "DNSPATH_EVENTS"
)

// crossPacket is a packet with our verdicts.
type crossPacket struct {
	name   string // what it is, and what was done to it
	bytes  []byte
	length int // as it was on the wire; bytes may be fewer
	tunnel []bool
	sums   []HeaderSum
}

// TestCrosscheck compares our verdicts with those of tshark, of which no one here
// wrote a line: on good and broken packets, made ones and seen ones, none of
// which has a checksum that is pending. It prints how many agree.
func TestCrosscheck(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 1))
	packets := seenPackets(t, rnd, crosscheckPackets/2)
	seen := len(packets)
	for len(packets) < crosscheckPackets {
		packets = append(packets, madePacket(t, rnd))
	}
	r := &crossReport{unknown: map[string]int{}, silent: map[string]int{}}
	for i, status := range tsharkStatus(t, packets) {
		r.compare(t, packets[i], status)
	}
	t.Logf("%d packets, %d of them seen by dnspath; %s", len(packets), seen, r)
	switch {
	case r.disagree > 0:
		t.Errorf("%d disagreements, want none", r.disagree)
	case r.good < crosscheckPackets/2 || r.bad < crosscheckPackets/5:
		t.Errorf("%d headers are right and %d wrong: too few of either", r.good, r.bad)
	}
}

// crossReport counts headers.
type crossReport struct {
	good, bad, none int // where both say so
	exempt          int // zero over IPv6 in a tunnel's header: tshark knows no RFC 6935
	disagree        int
	unknown         map[string]int // where we don't say: our reason, and what tshark says
	silent          map[string]int // where tshark does not say: what we say
}

func (r *crossReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "headers: %d agreed to be right, %d wrong, %d without; %d disagreements\n", r.good, r.bad, r.none, r.disagree)
	fmt.Fprintf(&b, "%8d zero in a tunnel over IPv6, which tshark calls illegal\n", r.exempt)
	for _, list := range []struct {
		what   string
		counts map[string]int
	}{{"we don't say", r.unknown}, {"tshark does not say", r.silent}} {
		for _, key := range slices.SortedFunc(maps.Keys(list.counts), func(a, c string) int {
			return cmp.Or(list.counts[c]-list.counts[a], strings.Compare(a, c))
		}) {
			fmt.Fprintf(&b, "%8d %s: %s\n", list.counts[key], list.what, key)
		}
	}
	return b.String()
}

// What tshark says of a checksum (epan/proto.h, PROTO_CHECKSUM_E_…).
var tsharkSays = map[string]string{"0": "bad", "1": "good", "2": "unverified", "3": "not present", "4": "illegal", "": "not found"}

// compare judges one packet. Each side has the headers of a kind outermost first;
// tshark may find fewer, or more in what an ICMP error quotes.
func (r *crossReport) compare(t *testing.T, p crossPacket, status map[string][]string) {
	t.Helper()
	next := map[string]int{}
	for i, s := range p.sums {
		theirs := "not found"
		if n := next[s.Header]; n < len(status[s.Header]) {
			theirs = tsharkSays[status[s.Header][n]]
		}
		next[s.Header]++
		switch ours := string(s.Verdict); {
		case ours == "unknown" || ours == "trusted":
			r.unknown[fmt.Sprintf("%s: %s; tshark: %s", ours, crossDigits.ReplaceAllString(s.Why, "N"), theirs)]++
		case ours == "ok" && theirs == "good":
			r.good++
		case ours == "bad" && (theirs == "bad" || theirs == "illegal" && s.Field == 0):
			r.bad++
		case ours == "none" && theirs == "not present":
			r.none++
		case ours == "none" && theirs == "illegal" && p.tunnel[i]:
			r.exempt++
		case theirs == "unverified" || theirs == "not found":
			r.silent[ours+"; tshark: "+theirs]++
		default:
			if r.disagree++; r.disagree <= 10 {
				t.Errorf("%s: %s/%d is %s (%04x, should be %04x, %q), tshark says %s\n%x", p.name, s.Header, s.Depth, ours, s.Field, s.Want, s.Why, theirs, p.bytes)
			}
		}
	}
}

var crossDigits = regexp.MustCompile(`[0-9]+`)

// tsharkStatus writes the packets as a capture, and returns what tshark says of
// their checksums, by kind of header.
func tsharkStatus(t *testing.T, packets []crossPacket) []map[string][]string {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Fatalf("%v: scripts/install-deps crosscheck installs it", err)
	}
	path := filepath.Join(t.TempDir(), "packets.pcap")
	writeCapture(t, path, packets)
	args := []string{"-n", "-r", path, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-d", "udp.port==8472,vxlan"}
	for _, o := range []string{
		"ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE",
		"ip.defragment:FALSE", "ipv6.defragment:FALSE", // packet by packet
	} {
		args = append(args, "-o", o)
	}
	kinds := []string{"ipv4", "udp", "tcp"}
	for _, field := range []string{"ip.checksum.status", "udp.checksum.status", "tcp.checksum.status"} {
		args = append(args, "-e", field)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var all []map[string][]string
	for line := range strings.Lines(string(out)) {
		status := map[string][]string{}
		for i, list := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			if list != "" {
				status[kinds[i]] = strings.Split(list, ",")
			}
		}
		all = append(all, status)
	}
	if len(all) != len(packets) {
		t.Fatalf("tshark tells of %d packets, want %d", len(all), len(packets))
	}
	return all
}

func writeCapture(t *testing.T, path string, packets []crossPacket) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	buf := bufio.NewWriter(file)
	w := pcapgo.NewWriter(buf)
	err = w.WriteFileHeader(1<<16, layers.LinkTypeRaw)
	for i, p := range packets {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 0), CaptureLength: len(p.bytes), Length: p.length}
		err = errors.Join(err, w.WritePacket(ci, p.bytes))
	}
	if err = errors.Join(err, buf.Flush()); err != nil {
		t.Fatal(err)
	}
}

// judgedPacket is a packet with the verdicts that follow from the facts.
func judgedPacket(name string, p []byte, length int, f *sumFacts) crossPacket {
	c := crossPacket{name: name, bytes: p, length: max(length, len(p)), sums: sums(p, f)}
	for _, s := range c.sums {
		c.tunnel = append(c.tunnel, s.Depth > 0)
	}
	return c
}

// seenPackets returns some of the packets that an export tells of, a third of them
// broken since. Those with a pending checksum hold none, and those that the kernel
// was yet to fill in are no packets.
func seenPackets(t *testing.T, rnd *rand.Rand, most int) []crossPacket {
	t.Helper()
	path := os.Getenv(eventsEnv)
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var chosen []*Event
	for n, dec := 0, json.NewDecoder(bufio.NewReader(file)); ; {
		r := struct {
			Type string `json:"type"`
			*Event
		}{Event: &Event{}}
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if e := r.Event; r.Type == "event" && e.Captured != nil && !isEarly(e) && e.Checksum.Summed != summedPartial {
			if n++; len(chosen) < most {
				chosen = append(chosen, e)
			} else if i := rnd.IntN(n); i < most { // each of them has the same chance
				chosen[i] = e
			}
		}
	}
	if len(chosen) < most {
		t.Errorf("%s tells of %d packets that are complete, want %d", path, len(chosen), most)
	}
	var packets []crossPacket
	for _, e := range chosen {
		tracker := newSumTracker([]*Event{e})
		name, length := "seen", ipLength(e.Captured)
		if rnd.IntN(3) > 0 {
			packets = append(packets, crossPacket{name: name, bytes: e.Captured, length: max(length, len(e.Captured)), sums: tracker.judge(e)})
			last := &packets[len(packets)-1]
			for _, s := range last.sums {
				last.tunnel = append(last.tunnel, s.Depth > 0)
			}
			continue
		}
		tracker.hold(e)
		c := &crossMaker{rnd: rnd, p: slices.Clone(e.Captured), length: length, f: tracker.facts(e)}
		packets = append(packets, judgedPacket(name+", "+c.change(), c.p, c.length, c.f))
	}
	return packets
}

// ipLength returns the length that the IP header tells.
func ipLength(p []byte) int {
	if len(p) >= 40 && p[0]>>4 == 6 {
		return 40 + int(be16(p, 4))
	}
	return int(be16(p, 2))
}
