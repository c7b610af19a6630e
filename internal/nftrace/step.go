package nftrace

// Step is what one rule, or a chain's policy, did with a packet.
type Step struct {
	Packet         // as it came into the base chain
	Time    uint64 // ns, CLOCK_MONOTONIC, when the step was read: a little after it was made
	NetNS   uint32 // inode of the network namespace
	Kind    Kind
	Family  string // of the table, as nft writes it: inet, ip, ip6, bridge, netdev
	Table   string
	Chain   string
	Handle  uint64 // of the rule; 0 of a policy
	Verdict string // accept, drop, continue, jump CHAIN, …
	Base    Chain  // by which the packet came into the table
	Text    string // of the rule, as nft lists it; empty if unknown
	Comment string // of the rule
	NAT     bool   // the rule translates addresses; false if unknown
}

// Chain is a base chain: where in netfilter packets come into a table. The zero
// value is one that is not known.
type Chain struct {
	Name     string
	Type     string // filter, nat, route; empty of a chain without a hook
	Hook     uint32 // NF_INET_* in the families inet, ip and ip6
	Priority int32
}

// maxTraces bounds the packets that an assembler follows at one time.
const maxTraces = 4096

// assembler makes steps of one namespace's messages. The first message of a base
// chain has the packet's headers (nft_traceinfo.packet_dumped), and those that
// follow until the next such message belong to the same packet and base chain.
type assembler struct {
	chainOf func(family uint8, table, chain string) Chain
	under   map[uint32]evaluation // by trace id
}

// evaluation is a packet's way through a base chain and what it jumps to.
type evaluation struct {
	packet Packet
	dns    bool
	table  string
	base   Chain
}

// add turns a message into a step. It reports false if that is none: the packet
// is not DNS, or not known, since its first message was lost.
func (a *assembler) add(m *Message) (Step, bool) {
	under, known := a.under[m.ID]
	if m.Network != nil {
		under = evaluation{table: m.Table}
		if under.packet, under.dns = m.packet(); under.dns {
			under.base = a.chainOf(m.Family, m.Table, m.Chain)
		}
		if len(a.under) >= maxTraces {
			clear(a.under) // nothing says when a packet's last message was
		}
		a.under[m.ID] = under
	} else if !known || under.table != m.Table {
		return Step{}, false
	}
	if m.Kind == KindRule && m.Handle == 0 {
		return Step{}, false // no rule: the kernel's mark of a chain's end, nft_trace_verdict
	}
	return Step{
		Packet: under.packet, Kind: m.Kind, Family: familyNames[m.Family], Table: m.Table, Chain: m.Chain,
		Handle: m.Handle, Verdict: m.Verdict, Base: under.base,
	}, under.dns
}

// forget drops all packets: messages were lost, and what comes next may belong
// to a base chain whose first message was among them.
func (a *assembler) forget() { clear(a.under) }
