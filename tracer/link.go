package tracer

import "net/netip"

// Link ties a Lookup to another one.
type Link struct {
	Kind LinkKind
	How  string // HowSeen: the same process or socket did both; HowInferred: addresses, names and times say so
	Ref  Ref    // the other lookup
	Try  int    // of LinkRetryOf: which try this is, 2 and up; else 0
}

// LinkKind is what the lookup of a Link is to the other one.
type LinkKind string

// The kinds of links. Lookups of one story have them both ways; LinkRetryOf is
// there on the retry alone, and the two are no story: each is handed out when it
// ends. So it is with LinkTruncationOf on a connection that was not made.
const (
	LinkSibling      LinkKind = "sibling"       // the same name for another type of address, or at another server at once
	LinkRetryOf      LinkKind = "retry-of"      // the same question again, from a new port or with a new ID; the other is the first try
	LinkTruncationOf LinkKind = "truncation-of" // over TCP, since the other's answer was truncated
	LinkOverTCP      LinkKind = "over-tcp"      // the other is its LinkTruncationOf
	LinkSearchOf     LinkKind = "search-of"     // the next name of a search list, since the other's did not exist
	LinkSearchNext   LinkKind = "search-next"   // the other is its LinkSearchOf
	LinkParent       LinkKind = "parent"        // the other caused it: a cache or forwarder asks on
	LinkChild        LinkKind = "child"         // the other is its LinkParent
)

// back is the kind that the other lookup of a story has for a link.
var back = map[LinkKind]LinkKind{
	LinkSibling: LinkSibling, LinkTruncationOf: LinkOverTCP, LinkSearchOf: LinkSearchNext, LinkParent: LinkChild,
}

// Ref identifies a Lookup among those of a node, by fields that have the same
// names there.
type Ref struct {
	Start  uint64
	Client netip.AddrPort
	Server netip.AddrPort
	DNSID  uint16
}

// Ref returns what identifies l.
func (l *Lookup) Ref() Ref {
	return Ref{Start: l.Start, Client: l.Client, Server: l.Server, DNSID: l.DNSID}
}

// Story is what the lookups of one story have in common. They are handed out one
// after the other: what was caused by another lookup follows it, the rest is in
// the order of their starts.
type Story struct {
	First    Ref    // its first lookup, which gives it its identity
	Name     string // what was asked for; of a search walk, the name without search domains
	Lookups  int
	NXDomain int // of them, answered NXDOMAIN for a name with a search domain
	NoData   int // of them, answered without a record for a name with a search domain
	Caused   int // of them, caused by another one
	OverTCP  int // of them, over TCP since an answer was truncated
}
