package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// mixedSlack is by how much a lookup that dnspath tells of may lie outside the
// time in which its client made it: the wall clock of an export is reckoned from
// one reading of the clocks, and is slewed since.
const mixedSlack = 50 * time.Millisecond

// mixedRecord is what the judge reads of a lookup in an export. It is declared
// here, by docs/export.md, so that the judge shares no code with what it judges.
type mixedRecord struct {
	Time       time.Time      `json:"time"`
	LatencyNS  int64          `json:"latency_ns"`
	Name       string         `json:"name"`
	QType      string         `json:"qtype"`
	DNSID      uint16         `json:"dns_id"`
	Transport  string         `json:"transport"`
	Attempts   int            `json:"attempts"`
	Client     mixedEnd       `json:"client"`
	Server     mixedEnd       `json:"server"`
	Outcome    string         `json:"outcome"`
	Detail     string         `json:"detail"`
	Rcode      string         `json:"rcode"`
	Legs       []mixedLeg     `json:"legs"`
	Incomplete bool           `json:"incomplete"`
	Why        []string       `json:"incomplete_why"`
	Findings   []mixedFinding `json:"findings"`
	sums       *SumTally      // of all hops; nil: not counted
	addrs      []string       // of all hops, each once
	client     netip.AddrPort // in one piece
}

type mixedEnd struct {
	Addr netip.Addr `json:"addr"`
	Port uint16     `json:"port"`
}

type mixedLeg struct {
	Direction string          `json:"direction"`
	Segment   string          `json:"segment"`
	ICMP      json.RawMessage `json:"icmp"`
	Fragment  struct {
		Offset int `json:"offset"`
	} `json:"fragment"`
	Hops []mixedHop `json:"hops"`
}

type mixedHop struct {
	Src   string   `json:"src"`
	Dst   string   `json:"dst"`
	Hop   string   `json:"hop"`
	NetNS string   `json:"netns_name"`
	Dev   string   `json:"dev"`
	Sums  *hopSums `json:"checksum"`
}

type mixedFinding struct {
	ID       string   `json:"id"`
	Summary  string   `json:"summary"`
	Evidence []string `json:"evidence"`
}

// MixedLosses are dnspath's own losses, of its stats record.
type MixedLosses struct {
	Events      uint64            `json:"events"`
	Lost        map[string]uint64 `json:"lost"`
	Undecodable uint64            `json:"undecodable"`
	Evicted     uint64            `json:"evicted"`
	Cut         uint64            `json:"cut"`
	Late        uint64            `json:"late"`
	Stragglers  uint64            `json:"stragglers"`
	Unwritten   uint64            `json:"unwritten"`
}

// Total counts what may have cost a lookup something. Stragglers may not: they
// are what is seen of a lookup that has been told.
func (l MixedLosses) Total() uint64 {
	n := l.Undecodable + l.Evicted + l.Cut + l.Late + l.Unwritten
	for _, lost := range l.Lost {
		n += lost
	}
	return n
}

// MixedExport holds what the judge needs of an export.
type MixedExport struct {
	CountSums bool // count the verdicts on checksums of each lookup
	Others    bool // lookups of others are no fault: those that a cache makes

	records []*mixedRecord
	losses  MixedLosses
	ended   bool
	seen    atomic.Int64
	strings map[string]string // one copy of each address
}

// Seen returns how many lookups were read so far, also while Read runs.
func (x *MixedExport) Seen() int { return int(x.seen.Load()) }

// Read reads an export to its end. It keeps some hundred bytes of each lookup.
func (x *MixedExport) Read(r io.Reader) error {
	x.strings = map[string]string{}
	for dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<20)); ; {
		var line json.RawMessage
		err := dec.Decode(&line)
		if errors.Is(err, io.EOF) {
			if x.ended {
				return nil
			}
			return errors.New("read export: it has no stats at its end: it was cut short")
		}
		if err == nil {
			err = x.add(line)
		}
		if err != nil {
			return fmt.Errorf("read export: %w", err)
		}
	}
}

func (x *MixedExport) add(line []byte) error {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return err
	}
	switch kind.Type {
	case "lookup":
		r := &mixedRecord{}
		if err := json.Unmarshal(line, r); err != nil {
			return err
		}
		r.client = netip.AddrPortFrom(r.Client.Addr, r.Client.Port)
		if x.CountSums {
			r.countSums()
		}
		for i := range r.Legs {
			for _, h := range r.Legs[i].Hops {
				r.addrs = x.collect(x.collect(r.addrs, h.Src), h.Dst)
			}
			r.Legs[i].Hops = nil
		}
		x.records = append(x.records, r)
		x.seen.Add(1)
	case "stats":
		x.ended = true
		return json.Unmarshal(line, &x.losses)
	}
	return nil
}

// collect adds an address to a list that does not have it.
func (x *MixedExport) collect(list []string, addr string) []string {
	if slices.Contains(list, addr) {
		return list
	}
	if _, ok := x.strings[addr]; !ok {
		x.strings[addr] = addr
	}
	return append(list, x.strings[addr])
}

// MixedVerdict says how an export compares with the log.
type MixedVerdict struct {
	Lookups int // that were made
	Records int // lookups that dnspath tells of

	Missed     int // lookups of which there is no record
	Split      int // records of a lookup beyond its first
	Merged     int // records with packets of several lookups
	Wrong      int // records with another outcome, rcode, server, ID, time or number of transmissions
	Foreign    int // records of no lookup that was made
	Incomplete int // records that say that events are missing
	Blamed     int // records with a finding of what was not the cause
	Losses     MixedLosses

	Unmade    int // lookups that the generator did not make as planned
	Unplanned int // lookups that came to another end than was planned, as on a busy machine

	TCP, IPv6, Retried, Paired, SharedID, SharedName int // of Lookups
	Outcomes                                         map[string]int
	Findings                                         map[string]int // of the records, by ID
	Faults                                           []string       // each in a line, the first ten of a kind
	kinds                                            map[string]int
}

// Good reports whether dnspath told of each lookup once, as it was.
func (v *MixedVerdict) Good() bool {
	return v.Missed+v.Split+v.Merged+v.Wrong+v.Foreign+v.Incomplete+v.Blamed == 0 && v.Losses.Total() == 0
}

// fault counts one in counter, and says what it is.
func (v *MixedVerdict) fault(counter *int, kind, format string, args ...any) {
	*counter++
	if v.kinds[kind]++; v.kinds[kind] <= 10 {
		v.Faults = append(v.Faults, kind+": "+fmt.Sprintf(format, args...))
	}
}

// mixedKey finds a lookup. One that never sent its query has no name and type.
type mixedKey struct {
	transport string
	client    netip.AddrPort
	name      string
	qtype     string
}

// indexMixed returns the lookups that were made by what records tell of them.
func indexMixed(log []*MixedLookup) map[mixedKey]*MixedLookup {
	index := map[mixedKey]*MixedLookup{}
	for _, l := range log {
		key := mixedKey{l.Transport, l.Client, l.Name, l.Type}
		if l.Unasked {
			key.name, key.qtype = "", ""
		}
		if !l.Sent.IsZero() {
			index[key] = l
		}
	}
	return index
}

// key is the same of a record.
func (r *mixedRecord) key() mixedKey { return mixedKey{r.Transport, r.client, r.Name, r.QType} }

// JudgeMixed compares a log with an export.
func JudgeMixed(log []*MixedLookup, x *MixedExport) *MixedVerdict {
	j := &mixedJudge{
		verdict: &MixedVerdict{Records: len(x.records), Losses: x.losses, Outcomes: map[string]int{}, Findings: map[string]int{}, kinds: map[string]int{}},
		lookups: indexMixed(log), told: map[*MixedLookup]*mixedRecord{}, sockets: map[string]*MixedLookup{},
		others: x.Others,
	}
	v := j.verdict
	for _, l := range log {
		if l.Came == "" || l.Err != "" {
			v.fault(&v.Unmade, "not made", "%v: %s", l, l.Err)
		}
		if l.Sent.IsZero() {
			continue
		}
		v.Lookups++
		j.sockets[l.Client.String()] = l
	}
	for _, r := range x.records {
		j.record(r)
	}
	for _, l := range log {
		switch {
		case l.Sent.IsZero() || j.told[l] != nil:
		case l.Doubtful:
			v.fault(&v.Unmade, "not made", "%v", l)
		default:
			v.fault(&v.Missed, "missed", "%v", l)
		}
	}
	v.figures(log)
	return v
}

// mixedJudge is the state of a judgement.
type mixedJudge struct {
	verdict *MixedVerdict
	lookups map[mixedKey]*MixedLookup
	told    map[*MixedLookup]*mixedRecord
	sockets map[string]*MixedLookup // by the client's address and port: one of the lookups of it
	others  bool                    // as of MixedExport
}

// record judges one record.
func (j *mixedJudge) record(r *mixedRecord) {
	v := j.verdict
	l := j.lookups[r.key()]
	if l == nil && j.others {
		return
	}
	if l == nil {
		if _, made := j.sockets[r.client.String()]; made || strings.HasSuffix(r.Name, mixedZone) {
			v.fault(&v.Split, "split, of no lookup in its whole", "%v", r)
		} else {
			v.fault(&v.Foreign, "foreign", "%v", r)
		}
		return
	}
	if first := j.told[l]; first != nil {
		v.fault(&v.Split, "split", "%v\n      told as %v\n         and %v", l, first, r)
		return
	}
	j.told[l] = r
	v.Outcomes[r.Outcome]++
	for _, f := range r.Findings {
		v.Findings[f.ID]++
		if !l.mayBe(f.ID) {
			v.fault(&v.Blamed, "blamed", "%s: %v\n      told as %v", f.ID, l, r)
		}
	}
	if r.Incomplete {
		v.fault(&v.Incomplete, "incomplete", "%v\n      told as %v", l, r)
		return
	}
	if what := j.merged(l, r); what != "" {
		v.fault(&v.Merged, "merged", "%s: %v\n      told as %v", what, l, r)
		return
	}
	if what := wrong(l, r); what != "" {
		v.fault(&v.Wrong, "wrong", "%s: %v\n      told as %v", what, l, r)
	}
}

// merged says what a record has of another lookup, if anything.
func (j *mixedJudge) merged(l *MixedLookup, r *mixedRecord) string {
	for _, addr := range r.addrs {
		if other := j.sockets[addr]; other != nil && other.Client != l.Client {
			return "packets of " + addr
		}
	}
	queries, replies := 0, 0
	for _, leg := range r.Legs {
		switch {
		case l.Transport == "tcp" || leg.ICMP != nil: // a leg is a segment, or an ICMP error
		case leg.Fragment.Offset > 0: // of a datagram whose first fragment has a leg
		case leg.Direction == "query":
			queries++
		default:
			replies++
		}
	}
	answers := l.Transmissions
	if strings.HasPrefix(l.Name, "retry") {
		answers-- // the server is silent at first
	}
	switch {
	case r.Attempts > l.attempts() || queries > l.Transmissions:
		return "too many queries"
	case replies > answers:
		return "too many replies"
	}
	return ""
}

// figures counts the mix, as it was made and not as it was planned.
func (v *MixedVerdict) figures(log []*MixedLookup) {
	inFlight := map[uint16][]*MixedLookup{}
	names := map[string][]*MixedLookup{}
	count := func(n *int, is bool) {
		if is {
			*n++
		}
	}
	for _, l := range log {
		if l.Sent.IsZero() {
			continue
		}
		count(&v.TCP, l.Transport == "tcp")
		count(&v.IPv6, l.Client.Addr().Is6())
		count(&v.Retried, l.Transmissions > 1)
		count(&v.Unplanned, !l.asPlanned())
		inFlight[l.ID] = append(inFlight[l.ID], l)
		names[l.Name] = append(names[l.Name], l)
	}
	for range eachOf(inFlight, func(a, b *MixedLookup) bool { return a.Client != b.Client }) {
		v.SharedID++
	}
	for range eachOf(names, func(a, b *MixedLookup) bool { return a.Client == b.Client && a.Type != b.Type }) {
		v.Paired++
	}
	for range eachOf(names, func(a, b *MixedLookup) bool { return a.Client != b.Client }) {
		v.SharedName++
	}
}

// eachOf yields the lookups of all groups that are in flight together with
// another of their group that matches.
func eachOf[K comparable](groups map[K][]*MixedLookup, match func(a, b *MixedLookup) bool) func(yield func(*MixedLookup) bool) {
	return func(yield func(*MixedLookup) bool) {
		for group := range maps.Values(groups) {
			for _, a := range group {
				together := slices.ContainsFunc(group, func(b *MixedLookup) bool {
					return match(a, b) && a.Sent.Before(b.Ended) && b.Sent.Before(a.Ended)
				})
				if together && !yield(a) {
					return
				}
			}
		}
	}
}
