package lab

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// servicePort is one port of the cluster DNS service.
type servicePort struct {
	name  string // of the port
	proto string
}

func servicePorts() []servicePort { return []servicePort{{"dns", "udp"}, {"dns-tcp", "tcp"}} }

const (
	serviceNamespace = "kube-system"
	serviceName      = "kube-dns"
)

// fullName is what kube-proxy calls the port in comments and hashes.
func (p servicePort) fullName() string {
	return serviceNamespace + "/" + serviceName + ":" + p.name
}

// installService puts the service's rules on both nodes.
func (l *Lab) installService(ctx context.Context) error {
	for _, node := range l.nodes() {
		switch l.cfg.Service {
		case ServiceIPTables:
			if err := l.restoreIPTables(ctx, node, iptablesService); err != nil {
				return err
			}
		case ServiceNFTables:
			rules := nftablesService(ipv4, l.endpoints(ipv4)) + nftablesService(ipv6, l.endpoints(ipv6))
			if err := node.NFT(ctx, rules); err != nil {
				return err
			}
		case ServiceIPVS:
			if err := l.installIPVS(node); err != nil {
				return err
			}
			if err := l.restoreIPTables(ctx, node, ipvsRules); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetEndpoints changes which DNS pods are behind the service, as kube-proxy does
// when they come and go: on both nodes, leaving conntrack as it is.
func (l *Lab) SetEndpoints(ctx context.Context, endpoints ...string) error {
	l.cfg.Endpoints = endpoints
	for _, node := range l.nodes() {
		if err := l.removeService(ctx, node); err != nil {
			return err
		}
	}
	return l.installService(ctx)
}

// removeService removes what installService put on a node.
func (l *Lab) removeService(ctx context.Context, node *NS) error {
	switch l.cfg.Service {
	case ServiceNFTables:
		return node.NFT(ctx, "delete table ip kube-proxy\ndelete table ip6 kube-proxy\n")
	case ServiceIPVS:
		if err := node.removeIPVS(); err != nil {
			return err
		}
	}
	for _, table := range []string{"filter", "nat"} {
		for _, op := range []string{"-F", "-X"} {
			if err := errors.Join(node.IPTables(ctx, "-t", table, op), node.IP6Tables(ctx, "-t", table, op)); err != nil {
				return err
			}
		}
	}
	return nil
}

// restoreIPTables adds the rules of both families to those of a node.
func (l *Lab) restoreIPTables(ctx context.Context, node *NS, rules func(family, []netip.AddrPort) string) error {
	for _, f := range families() {
		command := "iptables-restore"
		if f.bits == ipv6.bits {
			command = "ip6tables-restore"
		}
		if err := node.feed(ctx, rules(f, l.endpoints(f)), command, "--noflush", "--wait"); err != nil {
			return err
		}
	}
	return nil
}

// endpoints returns the addresses behind the service.
func (l *Lab) endpoints(f family) []netip.AddrPort {
	var list []netip.AddrPort
	for _, name := range l.cfg.Endpoints {
		addr := l.NS(name).Addr
		if f.bits == ipv6.bits {
			addr = l.NS(name).Addr6
		}
		list = append(list, netip.AddrPortFrom(addr, dnsPort))
	}
	return list
}

// feed runs a program in the namespace with text on its standard input.
func (ns *NS) feed(ctx context.Context, text, name string, args ...string) error {
	cmd := ns.Command(ctx, name, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s in %s: %w: %s", name, ns.Name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// NFT gives text to "nft -f -" in the namespace. The text is one transaction.
func (ns *NS) NFT(ctx context.Context, text string) error {
	return ns.feed(ctx, text, "nft", "-f", "-")
}

// IPTables runs iptables in the namespace, such as
//
//	IPTables(ctx, "-A", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP")
func (ns *NS) IPTables(ctx context.Context, rule ...string) error {
	return ns.feed(ctx, "", "iptables", append([]string{"--wait"}, rule...)...)
}

// IP6Tables is IPTables for IPv6.
func (ns *NS) IP6Tables(ctx context.Context, rule ...string) error {
	return ns.feed(ctx, "", "ip6tables", append([]string{"--wait"}, rule...)...)
}

// IP runs ip in the namespace, such as
//
//	IP(ctx, "route", "add", "unreachable", "10.244.2.99")
func (ns *NS) IP(ctx context.Context, args ...string) error {
	return ns.feed(ctx, "", "ip", args...)
}

// shortHash is how kube-proxy makes chain names unique.
func shortHash(text string, length int) string {
	sum := sha256.Sum256([]byte(text))
	return base32.StdEncoding.EncodeToString(sum[:])[:length]
}
