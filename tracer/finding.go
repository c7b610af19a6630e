package tracer

// Finding is a named cause of what went wrong with a lookup. Its texts may hold
// any bytes: names of devices, rules and processes are as the system gave them.
type Finding struct {
	ID         string // stable, such as "policy-drop"; docs/findings.md has a section for each
	Confidence Confidence
	Summary    string   // the cause in one sentence, with names and addresses
	Evidence   []string // what was seen, and what the node's configuration says: a fact each
	Mend       []string // commands, or what to do, the best first
}

// Confidence says what a Finding rests on.
type Confidence string

// The levels of confidence.
const (
	ConfidenceSeen      Confidence = "seen"      // the packet itself proved it
	ConfidenceConfirmed Confidence = "confirmed" // and the node's configuration agrees
	ConfidenceLikely    Confidence = "likely"    // the configuration alone says so, or the loss was beyond this node
)
