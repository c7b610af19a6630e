package lab

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// gsoFaults are those of several segments in one packet.
var gsoFaults = []Fault{
	{
		ID:    "gso-drop",
		Title: "Something in the DNS pod spoils the TCP header of packets with several segments, and the kernel has to part them: its device can't.",
		Break: inTurn(
			// TCP soon sends single segments, which pass: it is to wait for longer than the client.
			within(DNSB, []string{"sysctl net.ipv4.tcp_early_retrans=0", "ip route replace default via 10.244.2.1 rto_min 30s"}),
			withoutTSO(DNSB),
			nft(DNSB, "table ip spoil { chain spoil { type filter hook postrouting priority 300; tcp sport 53 ip length > 1500 @th,96,4 set 4; }\n}"), // words in a header: 5 at the least
		),
		Ask: func(ctx context.Context, l *Lab, name string) error {
			return askOnce(ctx, l.Client, LookupOptions{Server: netip.AddrPortFrom(l.DNSB.Addr, dnsPort), Name: "big40000." + name, Type: dns.TypeTXT, TCP: true})
		},
		Mend: within(DNSB, []string{"ip link set eth0 gso_max_segs 1"}), Needs: SightHooks, // the device sees a header that is none
	},
}

// withoutTSO has a namespace's device leave it to the kernel to part packets.
func withoutTSO(name string) deed {
	return func(_ context.Context, l *Lab) error {
		err := l.NS(name).Do(func() error {
			_, err := ethtool(WireDev, unix.ETHTOOL_STSO, false)
			return err
		})
		if err != nil {
			return fmt.Errorf("turn TSO of %s in %s off: %w", WireDev, name, err)
		}
		return nil
	}
}
