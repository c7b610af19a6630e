package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// MasqueradeTunnel has node-a translate the source port of its own VXLAN packets,
// as kube-proxy 1.16 did whose mark for MASQUERADE stayed on a packet as it went
// into the tunnel (kubernetes pull request 92035). Linux then leaves the outer UDP
// checksum as it was if one within is pending, since inet_proto_csum_replace2()
// (net/core/utils.c) takes skb->ip_summed for what is said of the header that it
// rewrites: seen on 5.10 to 7.2. node-b drops such packets.
//
// Any of these mends it: VXLAN.ZeroChecksum; ExemptTunnel; the tunnel device's own
// transmit checksum offload turned off (SetTXChecksum).
func (l *Lab) MasqueradeTunnel(ctx context.Context) error {
	if err := l.checkOnWire(); err != nil {
		return err
	}
	return l.NodeA.IPTables(ctx, l.tunnelRule("-j MASQUERADE --random-fully")...)
}

// ExemptTunnel has node-a leave the addresses of its VXLAN packets alone, before
// the rule of MasqueradeTunnel or any other is asked.
func (l *Lab) ExemptTunnel(ctx context.Context) error {
	return l.NodeA.IPTables(ctx, l.tunnelRule("-j ACCEPT")...)
}

// tunnelRule returns a rule for VXLAN packets that comes first among those that
// translate sources.
func (l *Lab) tunnelRule(target string) []string {
	return strings.Fields(fmt.Sprintf("-t nat -I POSTROUTING -p udp --dport %d %s", l.cfg.VXLAN.Port, target))
}

// checkOnWire has node-a compute the checksums of what it sends to node-b, so
// that the receivers verify them: while they are pending nobody looks at any.
func (l *Lab) checkOnWire() error { return l.NodeA.SetTXChecksum(WireDev, false) }

// Offsets of what is in a VXLAN packet, from its outer UDP header on (RFC 7348).
const (
	outerUDPSum = 6
	innerIP     = 8 + 8 + 14 // the UDP header itself, VXLAN's and Ethernet's
	innerUDPSum = innerIP + 20 + 6
	innerName   = innerIP + 20 + 8 + 12 + 1 // the first letter of the name that is asked for
)

// TunnelField is what CorruptTunnel writes over in a VXLAN packet that carries
// DNS over UDP and IPv4.
type TunnelField int

// The fields.
const (
	OuterChecksum TunnelField = outerUDPSum // of UDP
	InnerChecksum TunnelField = innerUDPSum
	InnerName     TunnelField = innerName // two letters of the name in the question
)

// CorruptTunnel has node-a write two bytes over a field of its VXLAN packets when
// nothing but the wire lies before them, as faulty hardware may, and mend nothing.
func (l *Lab) CorruptTunnel(ctx context.Context, field TunnelField, value uint16) error {
	if err := l.checkOnWire(); err != nil {
		return err
	}
	rule := fmt.Sprintf("udp dport %d @th,%d,16 set %s", l.cfg.VXLAN.Port, int(field)*8, strconv.Itoa(int(value)))
	return l.NodeA.NFT(ctx, "table ip corrupt {\nchain corrupt { type filter hook postrouting priority 300; "+rule+"; }\n}\n")
}
