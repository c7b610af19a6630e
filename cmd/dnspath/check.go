package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/internal/nodestate"
	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/internal/rules"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

const checkUsage = `Walk what a DNS query would meet on this node, by what its configuration says:
the service's translation, its endpoints, routes, tunnels, neighbours, bridges,
conntrack. Nothing is sent. The servers are those of resolv.conf, unless given.

Exit status: 0 nothing is broken, 3 something is.

Usage:
  dnspath check [flags]

Examples:
  dnspath check                             lookups of the node itself
  dnspath check --netns default/web-7d9f    those of a pod
  dnspath check --netns 4242 --server 10.96.0.10
`

// checkFlags are the flags of check.
type checkFlags struct {
	netns   string
	node    string
	servers []string
	output  string
}

func runCheck(_ context.Context, e *env, args []string) error {
	var f checkFlags
	fs := flags(e, "check", checkUsage)
	fs.StringVar(&f.netns, "netns", "host", "whose lookups: a network `namespace` by name, path, PID, inode, pod or \"host\"")
	fs.StringVar(&f.node, "node-netns", "", "the `namespace` that translates and routes them (default: that of the client's gateway)")
	fs.StringSliceVar(&f.servers, "server", nil, "`address` of a DNS server, with a port or without; repeatable (default: those of resolv.conf)")
	fs.StringVarP(&f.output, "output", "o", "text", "`format`: text or json")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := checkOutput(f.output); err != nil {
		return err
	}
	opts, err := f.options()
	if err != nil {
		return err
	}
	node, _, err := identity()
	if err != nil {
		return err
	}
	record := render.NewCheckRecord(node, e.now(), opts.Client.Name(), opts.Node.Name(), diagnose.Walk(*opts))
	if f.output == "json" {
		err = render.WriteJSON(e.stdout, record)
	} else {
		color, _ := terminal(e)
		text := render.Text{Color: color}
		err = text.WriteCheck(e.stdout, record)
	}
	if err == nil && record.Failed() {
		return errLookupFailed
	}
	return err
}

// options finds the namespaces and the servers.
func (f *checkFlags) options() (*diagnose.CheckOptions, error) {
	resolver := names.New(names.Options{})
	if err := resolver.Refresh(); err != nil {
		return nil, fmt.Errorf("find network namespaces: %w", err)
	}
	known := func(inode uint32) names.NetNS {
		ns, _ := resolver.NetNS(inode)
		return ns
	}
	reader := nodestate.NewReader(nodestate.Options{
		Names: known, All: resolver.All,
		Rules: rules.NewReader(func(inode uint32) string { return known(inode).Path }, 0),
	})
	find := func(flag, spec string) (diagnose.NetNS, error) {
		ns, err := resolver.Find(spec)
		if err != nil {
			return nil, usagef("--%s: %w", flag, err)
		}
		return reader.NetNS(ns.Inode), nil
	}
	o := &diagnose.CheckOptions{}
	for _, ns := range resolver.All() {
		o.All = append(o.All, reader.NetNS(ns.Inode))
	}
	var err error
	if o.Client, err = find("netns", f.netns); err != nil {
		return nil, err
	}
	if o.Servers, err = f.serversOf(o.Client); err != nil {
		return nil, err
	}
	if f.node != "" {
		o.Node, err = find("node-netns", f.node)
		return o, err
	}
	o.Node, err = diagnose.NodeOf(o.Client, o.All, o.Servers[0].Addr())
	if err != nil {
		return nil, fmt.Errorf("%w; --node-netns says it", err)
	}
	return o, nil
}

// dnsPort is where DNS servers listen.
const dnsPort = 53

// serversOf returns the servers given, or those of the client's resolv.conf.
func (f *checkFlags) serversOf(client diagnose.NetNS) (out []netip.AddrPort, err error) {
	for _, s := range f.servers {
		if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			out = append(out, netip.AddrPortFrom(addr.Unmap(), dnsPort))
			continue
		}
		server, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, usagef("--server: %q is no address, such as 10.96.0.10 or 10.96.0.10:53", s)
		}
		out = append(out, server)
	}
	if len(out) > 0 {
		return out, nil
	}
	conf, err := client.Resolver()
	if err != nil {
		return nil, fmt.Errorf("read resolv.conf of %s: %w; --server says which server to check", client.Name(), err)
	}
	for _, addr := range conf.Nameservers {
		out = append(out, netip.AddrPortFrom(addr.Unmap(), dnsPort))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s names no server; --server does", conf.Path)
	}
	return out, nil
}
