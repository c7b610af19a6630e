package lab

import (
	"context"
	"strconv"
	"strings"
)

// StartDnsmasq runs the real dnsmasq in the namespace, and returns when it
// answers. It reads no file of the machine's. It asks upstream from a socket
// for each query, and not over TCP unless its client did.
func StartDnsmasq(ctx context.Context, ns *NS, opts DaemonOptions) (*Daemon, error) {
	opts = opts.complete(ns)
	// The debug mode of --no-daemon forks no children for clients over TCP and
	// changes no identity; either would shed the death signal.
	args := []string{
		"--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--user=root",
		"--no-resolv", "--no-hosts",
		"--bind-interfaces", "--listen-address=" + opts.Addr.String(),
	}
	known := "/" + strings.TrimSuffix(Zone, ".") + "/"
	if opts.Upstream.IsValid() {
		known = "/" + strings.TrimSuffix(readyName, ".") + "/"
		args = append(args, "--server="+opts.Upstream.Addr().String())
	}
	if opts.NoCache {
		args = append(args, "--cache-size=0")
	}
	args = append(args, "--local-ttl="+strconv.Itoa(answerTTL),
		"--address="+known+Answer().String(), "--address="+known+Answer6().String())
	return startDaemon(ctx, ns, opts, "dnsmasq", args...)
}
