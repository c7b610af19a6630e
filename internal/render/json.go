package render

import (
	"encoding/json"
	"io"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// Start is the first record of an export: who observed what, and how.
type Start struct {
	Type          string        `json:"type"` // "start"
	Schema        int           `json:"schema"`
	Tool          string        `json:"tool"`
	Version       string        `json:"version"`
	Kernel        string        `json:"kernel"`
	Node          string        `json:"node"`
	Time          time.Time     `json:"time"`
	ClockOffsetNS int64         `json:"clock_offset_ns"` // from CLOCK_MONOTONIC, which events bear, to the wall clock
	Probes        []ProbeRecord `json:"probes"`
	Selection     []string      `json:"selection,omitzero"` // the flags that leave lookups out: empty if none does, nil unknown
}

// ProbeRecord is a row of the table of hops.
type ProbeRecord struct {
	Hop      string `json:"hop"`
	Layer    string `json:"layer"`
	Kind     string `json:"kind"`
	Probe    string `json:"probe"`
	Target   string `json:"target"`
	Sees     string `json:"sees"`
	Attached bool   `json:"attached"`
	Note     string `json:"note,omitempty"`
}

// EventRecord is one observation, as --events writes it.
type EventRecord struct {
	Type   string `json:"type"` // "event"
	Schema int    `json:"schema"`
	Node   string `json:"node"`
	*tracer.Event
	NetNSName string `json:"netns_name,omitempty"`
}

// StatsRecord is the last record of an export: what was counted, and lost.
type StatsRecord struct {
	Type        string            `json:"type"` // "stats"
	Schema      int               `json:"schema"`
	Node        string            `json:"node"`
	Time        time.Time         `json:"time"`
	Events      uint64            `json:"events"`
	Lookups     uint64            `json:"lookups"`
	Outcomes    map[string]uint64 `json:"outcomes"`
	Rcodes      map[string]uint64 `json:"rcodes,omitempty"`   // of the replies to the lookups of Outcomes
	Findings    map[string]uint64 `json:"findings,omitempty"` // of the same
	Latency     *Quantiles        `json:"latency_ns,omitempty"`
	Lost        map[string]uint64 `json:"lost"` // events in the kernel, by what was full
	Undecodable uint64            `json:"undecodable"`
	Evicted     uint64            `json:"evicted"`           // lookups closed early
	Cut         uint64            `json:"cut"`               // events beyond the bounds of one lookup
	Late        uint64            `json:"late"`              // events too far out of order
	Stragglers  uint64            `json:"stragglers"`        // events of lookups that had ended
	Unasked     uint64            `json:"unasked,omitempty"` // TCP connections that carried no question
	Unwritten   uint64            `json:"unwritten"`         // records that the output was too slow for
	Rules       *RuleStats        `json:"rules,omitempty"`
}

// Quantiles are those of the latencies of lookups that were answered, ns.
type Quantiles struct {
	P50 uint64 `json:"p50"`
	P90 uint64 `json:"p90"`
	P99 uint64 `json:"p99"`
	Max uint64 `json:"max"`
}

// RuleStats is what was read of nftables' traces, and lost.
type RuleStats struct {
	Steps       uint64 `json:"steps"`
	Overflows   uint64 `json:"overflows"` // times that the kernel's buffer was full
	Undecodable uint64 `json:"undecodable"`
	Unlisted    uint64 `json:"unlisted"` // rules whose text could not be asked for in time
	Namespaces  int    `json:"namespaces"`
}

// Analysis is the last record that dnspath analyze writes.
type Analysis struct {
	Type     string            `json:"type"` // "analysis"
	Schema   int               `json:"schema"`
	Nodes    []AnalyzedNode    `json:"nodes"` // times are by the clock of the first
	Records  uint64            `json:"records"`
	Lookups  uint64            `json:"lookups"` // after joining, those too that no filter let through
	Joined   uint64            `json:"joined"`
	Outcomes map[string]uint64 `json:"outcomes"` // of those shown
	Warnings []string          `json:"warnings,omitempty"`
}

// AnalyzedNode is a node whose exports were read.
type AnalyzedNode struct {
	Node     string  `json:"node"`
	Records  uint64  `json:"records"`
	OffsetNS *int64  `json:"offset_ns,omitempty"` // its clock, less that of the first node; nil unknown
	ErrorNS  *uint64 `json:"error_ns,omitempty"`
}

// Probes makes records of the table of hops.
func Probes(table []tracer.ProbeStatus) []ProbeRecord {
	records := make([]ProbeRecord, 0, len(table))
	for _, p := range table {
		records = append(records, ProbeRecord{
			Hop: p.Name, Layer: p.Layer, Kind: string(p.Kind), Probe: p.Program, Target: p.Target,
			Sees: p.Sees, Attached: p.Attached, Note: p.Why,
		})
	}
	return records
}

// Stats makes a record of what was counted.
func Stats(node string, at time.Time, s *tracer.Stats, outcomes map[string]uint64, unwritten uint64) StatsRecord {
	lost := s.Lost
	if lost == nil {
		lost = map[string]uint64{}
	}
	if outcomes == nil {
		outcomes = map[string]uint64{}
	}
	record := StatsRecord{
		Type: "stats", Schema: SchemaVersion, Node: node, Time: at.UTC(), Events: s.Events, Lookups: s.Lookups,
		Outcomes: outcomes, Lost: lost, Undecodable: s.Undecodable, Evicted: s.Evicted, Cut: s.Cut,
		Late: s.Late, Stragglers: s.Stragglers, Unasked: s.Unasked, Unwritten: unwritten,
	}
	if s.Rules != nil {
		rules := RuleStats(*s.Rules)
		record.Rules = &rules
	}
	return record
}

// WriteJSON writes a record as one line.
func WriteJSON(w io.Writer, record any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(record)
}
