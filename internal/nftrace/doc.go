// Package nftrace asks nftables which of its rules DNS packets match, and what
// each rule says: in every network namespace that it is given it adds a table
// whose two rules set the trace bit of DNS packets, and reads what the kernel
// then tells of each rule that such a packet matches (NFNLGRP_NFTRACE, what "nft
// monitor trace" shows). So nothing is concluded, and no function probe is
// needed; but rules are added, and traced packets cost more.
//
// The table belongs to the socket that made it (NFT_TABLE_F_OWNER): however
// dnspath ends, the kernel deletes it. Kernels before 5.12 know no owners; there
// the next start deletes what a process that has gone left behind.
//
// Rules of legacy iptables are not nftables' and stay unseen.
package nftrace
