package lab

import (
	"context"
	"fmt"
)

// StartUnbound runs the real Unbound in the namespace, and returns when it
// answers. It reads no file of the machine's and validates nothing.
func StartUnbound(ctx context.Context, ns *NS, opts DaemonOptions) (*Daemon, error) {
	opts = opts.complete(ns)
	path, err := ns.writeFile("unbound.conf", unboundConf(opts))
	if err != nil {
		return nil, fmt.Errorf("start unbound: %w", err)
	}
	return startDaemon(ctx, ns, opts, "unbound", "-d", "-c", path)
}

// unboundConf returns the configuration: unbound.conf(5).
func unboundConf(opts DaemonOptions) string {
	known := Zone
	if opts.Upstream.IsValid() {
		known = readyName
	}
	var t ruleText
	t.add(`server:`)
	t.add(`  directory: "" chroot: "" username: "" pidfile: "" use-syslog: no`)
	t.add(`  interface: %s access-control: 0.0.0.0/0 allow access-control: ::/0 allow`, opts.Addr)
	t.add(`  num-threads: 1 module-config: "iterator" do-not-query-localhost: no`)
	t.add(`  local-zone: "test." nodefault`) // by itself it says that test has no names (RFC 6761)
	t.add(`  local-zone: "%s" redirect`, known)
	t.add(`  local-data: "%s %d IN A %s"`, known, answerTTL, Answer())
	t.add(`  local-data: "%s %d IN AAAA %s"`, known, answerTTL, Answer6())
	t.add(`remote-control:`)
	t.add(`  control-enable: no`)
	if opts.Upstream.IsValid() {
		t.add(`forward-zone:`)
		t.add(`  name: "." forward-addr: %s@%d`, opts.Upstream.Addr(), opts.Upstream.Port())
		if opts.UpstreamTCP {
			t.add(`  forward-tcp-upstream: yes`)
		}
	}
	return t.String()
}
