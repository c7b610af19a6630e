package lab

import (
	"context"
	"net"
	"net/netip"
	"strings"
)

// ResolvConf is what the C library's resolver is told: resolv.conf(5).
type ResolvConf struct {
	Server  netip.Addr
	Search  []string // domains, in order
	Options string   // such as "ndots:5 timeout:1"
}

// withResolvConf runs a program in a mount namespace where its own files stand
// in for the machine's. The file may be a link to nowhere, since /run is not the
// machine's here: then it is made.
const withResolvConf = `
put() {
	file=$(readlink -f "$2") && mkdir -p "${file%/*}" && { [ -e "$file" ] || : >"$file"; } && mount -n --bind "$1" "$file"
}
put "$1" /etc/resolv.conf && put "$2" /etc/nsswitch.conf && shift 2 && exec "$@"
`

// CommandWith is Command for a program that uses the C library's resolver, or
// reads its configuration as dig does. Names come from DNS alone.
func (ns *NS) CommandWith(ctx context.Context, conf ResolvConf, name string, args ...string) (*Cmd, error) {
	var t ruleText
	t.add("nameserver %s", conf.Server)
	if len(conf.Search) > 0 {
		t.add("search %s", strings.Join(conf.Search, " "))
	}
	if conf.Options != "" {
		t.add("options %s", conf.Options)
	}
	resolv, err := ns.writeFile("resolv.conf", t.String())
	if err != nil {
		return nil, err
	}
	nsswitch, err := ns.writeFile("nsswitch.conf", "hosts: dns\n")
	if err != nil {
		return nil, err
	}
	return ns.Command(ctx, "unshare", append([]string{"-m", "sh", "-c", withResolvConf, "sh", resolv, nsswitch, name}, args...)...), nil
}

// Resolver returns Go's own resolver, which asks the server from the namespace.
// It reads /etc/resolv.conf of the machine for all else: names should end with a
// dot.
func (ns *NS) Resolver(server netip.AddrPort) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if network == "tcp" {
			return ns.DialTCP(ctx, 0, server)
		}
		return ns.DialUDP(0, server)
	}}
}
