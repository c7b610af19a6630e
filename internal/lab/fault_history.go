package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// historyFaults are those that take several lookups to tell. What fails is on
// another node, which nobody watches.
var historyFaults = []Fault{
	{
		ID:    "tcp-only-fails",
		Title: "A rule on another node drops what is asked over TCP.",
		Lab:   serviceOnB, Watch: []string{Client, NodeA},
		Break: dropOnB("-I", "tcp"), Mend: dropOnB("-D", "tcp"),
		Ask: func(ctx context.Context, l *Lab, name string) error { return askBoth(ctx, l, name, true) },
	},
	{
		ID:    "udp-only-fails",
		Title: "A rule on another node drops what is asked over UDP.",
		Lab:   serviceOnB, Watch: []string{Client, NodeA},
		Break: dropOnB("-I", "udp"), Mend: dropOnB("-D", "udp"),
		Ask: func(ctx context.Context, l *Lab, name string) error { return askBoth(ctx, l, name, false) },
	},
	{
		ID:    "backend-broken",
		Title: "One of the service's two servers, on another node, does not answer.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSA, DNSB}, BridgeNF: true},
		Watch: []string{Client, NodeA, DNSA},
		Break: dropOnB("-I", "udp"), Mend: dropOnB("-D", "udp"),
		Ask: askOften,
	},
}

// dropOnB has node-b drop queries, or no more: of TCP, data alone.
func dropOnB(action, proto string) func(context.Context, *Lab) error {
	rule := fmt.Sprintf("%s FORWARD -p %s -d 10.244.2.53 --dport 53", action, proto)
	if proto == "tcp" {
		rule += " --tcp-flags PSH PSH"
	}
	return func(ctx context.Context, l *Lab) error {
		return l.NodeB.IPTables(ctx, strings.Fields(rule+" -j DROP")...)
	}
}

// askBoth asks twice over one transport, and then four times over the other, the
// last time for the name.
func askBoth(ctx context.Context, l *Lab, name string, tcp bool) error {
	var err error
	for i, opts := range []LookupOptions{{TCP: !tcp}, {TCP: !tcp}, {TCP: tcp}, {TCP: tcp}, {TCP: tcp}, {TCP: tcp}} {
		opts.Server, opts.Name, opts.Timeout = Service(), fmt.Sprintf("before%d.%s", i, Zone), Patience(500*time.Millisecond)
		if i == 5 {
			opts.Name = name
		}
		_, err = l.Client.Lookup(ctx, opts)
	}
	return err
}

// askOften asks the service for other names until both backends were asked
// often, and then for the name until that fails; it gives up if it never does.
func askOften(ctx context.Context, l *Lab, name string) error {
	opts := LookupOptions{Server: Service(), Timeout: Patience(100 * time.Millisecond)}
	for i := range 40 {
		opts.Name = fmt.Sprintf("before%d.%s", i, Zone)
		_, _ = l.Client.Lookup(ctx, opts) // every other one fails
	}
	opts.Name, opts.Timeout = name, Patience(500*time.Millisecond)
	for range 20 {
		if _, err := l.Client.Lookup(ctx, opts); err != nil {
			return err
		}
	}
	return nil
}
