// Package rules says which rule rewrote or dropped a packet. The kernel does
// not tell, so the answer is inferred: the rules of that network namespace are
// read, and the packet is matched against those that could have done what was
// seen. Rules of iptables (both of its backends), nftables and IPVS are
// understood, and BPF programs at tc and XDP hooks.
//
// What a rule asks of a packet may be unknown afterwards: its state in
// conntrack, a random choice, a member of an ipset. Matching has three values
// therefore, and a rule is named only if it is the one that is left. Nothing
// here is ever more than inferred: rules may have changed since the packet
// came by.
//
// Parsing and matching are pure functions; Reader and Explainer do the reading.
package rules
