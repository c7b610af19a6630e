package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// lookup is what is held of a lookup record: where it is, and what joins it to
// those of other nodes.
type lookup struct {
	source int
	offset int64
	length int

	node       int
	id         uint64
	start      int64 // wall clock of its node, ns since 1970
	end        int64 // its last hop
	name       string
	qtype      string
	dnsID      uint16
	tcp        bool
	local      bool // its query was seen to be sent: the client is on this node
	outcome    string
	fate       render.Fate
	story      string // its first lookup's ID; "": it is alone
	incomplete bool
	whole      bool // a record that was joined before

	client, server, backend netip.AddrPort
	legs                    []leg
}

// leg is the way of one packet on one node.
type leg struct {
	reply   bool
	attempt int
	kind    string // of a TCP segment, a later fragment, an ICMP error: what it is
	icmp    bool   // its addresses are those of the packet that it quotes
	in, out end    // its first hop, and its last
}

// end is where a packet came to a node, or left it.
type end struct {
	wire           bool           // it came from elsewhere, or went elsewhere
	client, server netip.AddrPort // as they are there
	at             int64          // wall clock of the node, ns
	ttl            uint8
	outer          netip.Addr // of a tunnel: where it leads
}

// The parts of records that the index needs. Unlike package render's records
// they leave out what takes time to read.
type (
	headJSON struct {
		Type   string `json:"type"`
		Schema *int   `json:"schema"`
		Node   string `json:"node"`
	}
	lookupJSON struct {
		headJSON
		ID         string       `json:"id"`
		Time       time.Time    `json:"time"`
		Name       string       `json:"name"`
		QType      string       `json:"qtype"`
		DNSID      uint16       `json:"dns_id"`
		Transport  string       `json:"transport"`
		Client     clientJSON   `json:"client"`
		Server     endpointJSON `json:"server"`
		Backend    endpointJSON `json:"backend"`
		Outcome    string       `json:"outcome"`
		Incomplete bool         `json:"incomplete"`
		Nodes      []string     `json:"nodes"`
		Story      string       `json:"story"`
		Legs       []legJSON    `json:"legs"`
		fateJSON
	}
	// fateJSON is what a lookup's fate depends on, besides its outcome.
	fateJSON struct {
		Attempts  int              `json:"attempts"`
		LatencyNS uint64           `json:"latency_ns"`
		Rcode     string           `json:"rcode"`
		Defect    string           `json:"defect"`
		Findings  []render.Finding `json:"findings"`
		Links     []render.Link    `json:"links"`
	}
	endpointJSON struct {
		Addr netip.Addr `json:"addr"`
		Port uint16     `json:"port"`
	}
	clientJSON struct {
		endpointJSON
		NetNS uint32 `json:"netns"`
	}
	legJSON struct {
		Direction string `json:"direction"`
		Attempt   int    `json:"attempt"`
		Segment   string `json:"segment"`
		Fragment  struct {
			Offset uint16 `json:"offset"`
		} `json:"fragment"`
		ICMP *struct{} `json:"icmp"`
		Hops endsJSON  `json:"hops"`
	}
	// endsJSON are the first hop of a leg and the last; nil: it has none. Most of an
	// export is what lies between.
	endsJSON struct{ first, last *hopJSON }
	hopJSON  struct {
		Hop    string          `json:"hop"`
		Layer  string          `json:"layer"`
		Hook   string          `json:"hook"`
		TNS    uint64          `json:"t_ns"`
		Src    string          `json:"src"`
		Dst    string          `json:"dst"`
		TTL    uint8           `json:"ttl"`
		Tunnel json.RawMessage `json:"tunnel"`
		Drop   *struct{}       `json:"drop"`
		ICMP   *struct{}       `json:"icmp"`
	}
	startJSON struct {
		headJSON
		Time      time.Time `json:"time"`
		Selection []string  `json:"selection"`
	}
	statsJSON struct {
		headJSON
		Time        time.Time         `json:"time"`
		Lost        map[string]uint64 `json:"lost"`
		Undecodable uint64            `json:"undecodable"`
		Cut         uint64            `json:"cut"`
		Unwritten   uint64            `json:"unwritten"`
	}
)

// UnmarshalJSON reads the first and the last element of a list of hops. The text
// is known to be valid JSON.
func (e *endsJSON) UnmarshalJSON(text []byte) error {
	*e = endsJSON{}
	var from, to, begin, depth int // the last element, where the element at hand begins
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth == 2 {
				begin = i
			}
		case c == ']' || c == '}':
			if depth--; depth != 1 {
				continue
			}
			from, to = begin, i+1
			if e.first == nil {
				e.first = &hopJSON{}
				if err := json.Unmarshal(text[from:to], e.first); err != nil {
					return err
				}
			}
		}
	}
	if e.last = e.first; e.first != nil {
		e.last = &hopJSON{}
		return json.Unmarshal(text[from:to], e.last)
	}
	return nil
}

// Errors of a line; they become part of a warning.
var (
	errNotRecord = errors.New("not a record of an export")
	errNewer     = errors.New("record of a newer schema")
)

// headOf reads what all records have, and refuses what this package can't read.
func headOf(text []byte) (headJSON, error) {
	var h headJSON
	if err := json.Unmarshal(text, &h); err != nil {
		return h, err
	}
	switch {
	case h.Type == "" || h.Schema == nil || *h.Schema < 0:
		return h, errNotRecord
	case *h.Schema > render.SchemaVersion:
		return h, errNewer
	case h.Node == "" && h.Type != "analysis":
		return h, fmt.Errorf("%s record without a node", h.Type)
	}
	return h, nil
}

// parseLookup makes an index entry of a lookup record, and returns its node.
func parseLookup(text []byte) (*lookup, string, error) {
	var j lookupJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, "", err
	}
	id, ok := parseID(j.ID)
	switch {
	case j.Node == "":
		return nil, "", errors.New("lookup record without a node")
	case !ok:
		return nil, "", fmt.Errorf("lookup with ID %q", j.ID)
	case j.Time.Year() < 1970 || j.Time.Year() > 2200: // what UnixNano can say
		return nil, "", errors.New("lookup without a time")
	case j.Outcome == "":
		return nil, "", errors.New("lookup without an outcome")
	}
	l := &lookup{
		id: id, start: j.Time.UnixNano(), name: strings.ToLower(j.Name), qtype: j.QType, dnsID: j.DNSID, tcp: j.Transport == "tcp",
		local: j.Client.NetNS != 0, outcome: j.Outcome, incomplete: j.Incomplete, whole: len(j.Nodes) > 0,
		client: j.Client.addrPort(), server: j.Server.addrPort(), backend: j.Backend.addrPort(),
		fate: j.fate(j.Outcome), story: j.Story,
	}
	l.end = l.start
	for i := range j.Legs {
		g, err := l.leg(&j.Legs[i])
		if err != nil {
			return nil, "", err
		}
		l.legs = append(l.legs, g)
	}
	return l, j.Node, nil
}

func (j *fateJSON) fate(outcome string) render.Fate {
	r := render.Record{Outcome: outcome, Attempts: j.Attempts, LatencyNS: j.LatencyNS, Rcode: j.Rcode, Defect: j.Defect, Findings: j.Findings, Links: j.Links}
	return r.Fate()
}

// parseID reads a lookup's ID.
func parseID(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && s == formatID(n)
}

func formatID(n uint64) string { return fmt.Sprintf("%016x", n) }

// maxSpan bounds how long a lookup may take, ns: a day. It keeps sums of times
// within 64 bits.
const maxSpan = uint64(24 * time.Hour)

func (l *lookup) leg(j *legJSON) (leg, error) {
	g := leg{reply: j.Direction == "reply", attempt: j.Attempt, kind: j.Segment, icmp: j.ICMP != nil}
	switch {
	case g.icmp:
		g.kind = "icmp"
	case j.Fragment.Offset > 0:
		g.kind = fmt.Sprintf("%s fragment %d", j.Segment, j.Fragment.Offset)
	}
	if j.Direction != "reply" && j.Direction != "query" {
		return g, fmt.Errorf("leg of direction %q", j.Direction)
	}
	first, last := j.Hops.first, j.Hops.last
	if first == nil {
		return g, nil
	}
	if t := max(first.TNS, last.TNS); t > maxSpan {
		return g, fmt.Errorf("hop %d ns after its lookup began", t)
	}
	l.end = max(l.end, l.start+int64(last.TNS))
	var err error
	if g.in, err = l.endAt(first, g.reply); err != nil {
		return g, err
	}
	if g.out, err = l.endAt(last, g.reply); err != nil {
		return g, err
	}
	g.in.wire = first.comes() && (g.reply || !l.local)
	g.out.wire = last.leaves()
	return g, nil
}

func (l *lookup) endAt(h *hopJSON, reply bool) (end, error) {
	e := end{at: l.start + int64(h.TNS), ttl: h.TTL}
	src, err := netip.ParseAddrPort(h.Src)
	if err != nil {
		return e, fmt.Errorf("hop from %q", h.Src)
	}
	dst, err := netip.ParseAddrPort(h.Dst)
	if err != nil {
		return e, fmt.Errorf("hop to %q", h.Dst)
	}
	e.client, e.server = plain(src), plain(dst)
	if reply {
		e.client, e.server = e.server, e.client
	}
	if len(h.Tunnel) > 0 {
		var t struct {
			Dst string `json:"dst"`
		}
		if err := json.Unmarshal(h.Tunnel, &t); err != nil {
			return e, err
		}
		if to, err := netip.ParseAddrPort(t.Dst); err == nil {
			e.outer = to.Addr()
		} else if e.outer, err = netip.ParseAddr(t.Dst); err != nil {
			return e, fmt.Errorf("tunnel to %q", t.Dst)
		}
		e.outer = e.outer.Unmap().WithZone("")
	}
	return e, nil
}

// plain makes addresses comparable: a node's devices mean nothing elsewhere.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func (e endpointJSON) addrPort() netip.AddrPort { return plain(netip.AddrPortFrom(e.Addr, e.Port)) }

// comes reports whether a packet that is first seen here may have come from
// elsewhere. What is first seen on its way out was sent here.
func (h *hopJSON) comes() bool {
	switch h.Hop {
	case "send", "output", "tx", "qdisc", "tc-egress", "tunnel-out":
		return false
	}
	return h.Hook != "OUTPUT" && h.Hook != "POSTROUTING"
}

// leaves reports whether a packet that is last seen here may have gone
// elsewhere: it was neither dropped nor taken by a socket.
func (h *hopJSON) leaves() bool {
	switch h.Hop {
	case "drop", "icmp", "read", "socket", "socket-full", "bad-checksum", "unroutable", "neighbour":
		return false
	}
	return h.Drop == nil && h.ICMP == nil && (h.Layer != "socket" || h.Hop == "send")
}
