package main

import (
	"fmt"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
)

// observeFlags are those that say what to observe, shared by the verbs that do.
type observeFlags struct {
	ports       []string
	vxlanPorts  []string
	genevePorts []string
	backend     string
	btf         string
	netns       []string
	nfHooks     string
	passive     bool
	tc          []string
	ringSize    string
}

func (o *observeFlags) register(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.ports, "port", nil, "`port` of DNS over UDP and TCP, repeatable (default 53)")
	fs.StringSliceVar(&o.vxlanPorts, "vxlan-port", nil, "UDP `port` of VXLAN, repeatable (default 4789,8472)")
	fs.StringSliceVar(&o.genevePorts, "geneve-port", nil, "UDP `port` of Geneve, repeatable (default 6081)")
	fs.StringArrayVar(&o.netns, "netns", nil, "observe this network `namespace` alone: a name, path, PID, inode, pod or \"host\"; repeatable")
	fs.StringVar(&o.backend, "backend", "auto", "`way` to probe kernel functions: kprobe-multi, kprobe, fentry, tracepoint (not at all), or auto, the first of them that the kernel allows")
	fs.StringVar(&o.btf, "btf", "", "`file` with the kernel's types (BTF), for a kernel that does not have its own")
	fs.StringVar(&o.nfHooks, "nf-hooks", "auto", "`mode`: attach to the netfilter hooks of each namespace, where every packet is accepted: on, off, or auto, which is on unless function probes see the hooks")
	fs.BoolVar(&o.passive, "passive", false, "attach to tracepoints alone: nothing of dnspath is in a packet's way")
	fs.StringSliceVar(&o.tc, "tc", nil, "attach to the tc hooks of `devices` with these names (* matches any), repeatable; without names, of all")
	fs.Lookup("tc").NoOptDefVal = "*"
	fs.StringVar(&o.ringSize, "ring-size", "8M", "buffer between the kernel and dnspath in `bytes`, a power of two; K and M are understood")
}

// options checks the flags and turns them into what tracer.Open takes.
func (o *observeFlags) options() (tracer.Options, error) {
	var opts tracer.Options
	var err error
	if opts.Ports, err = parsePorts("--port", o.ports); err != nil {
		return opts, err
	}
	if opts.VXLANPorts, err = parsePorts("--vxlan-port", o.vxlanPorts); err != nil {
		return opts, err
	}
	if opts.GenevePorts, err = parsePorts("--geneve-port", o.genevePorts); err != nil {
		return opts, err
	}
	if opts.Backend, err = o.parseBackend(); err != nil {
		return opts, err
	}
	opts.BTF = o.btf
	if opts.RingSize, err = parseRingSize(o.ringSize); err != nil {
		return opts, err
	}
	for _, pattern := range o.tc {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return opts, usagef("--tc: %q is no device name or pattern", pattern)
		}
	}
	opts.TC = o.tc
	switch o.nfHooks {
	case "auto":
		opts.Netfilter = tracer.NetfilterAuto
	case "on":
		opts.Netfilter = tracer.NetfilterOn
	case "off":
	default:
		return opts, usagef("--nf-hooks: %q is none of on, off, auto", o.nfHooks)
	}
	if o.passive {
		if o.nfHooks == "on" || len(o.tc) > 0 || o.backend != "auto" && o.backend != "tracepoint" {
			return opts, usagef("--passive promises tracepoints alone: it does not go with --nf-hooks on, --tc or another --backend")
		}
		opts.Netfilter, opts.Backend = tracer.NetfilterOff, kernel.BackendTracepoint
	}
	opts.NetNS, err = findNetNS(o.netns)
	return opts, err
}

// pickFlags are those that show some of the lookups alone, shared by the verbs
// that show them.
type pickFlags struct{ render.Pick }

func (p *pickFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&p.Failed, "failed", false, "show those alone that did not end well, with their story: no answer, an error code but NXDOMAIN, a query sent again, a named cause, incomplete")
	fs.DurationVar(&p.Slower, "slower", 0, "show those alone that had no answer within this `duration`, with their story; with --failed, either kind")
}

func (p *pickFlags) check(fs *pflag.FlagSet) error {
	if fs.Changed("slower") {
		return positive("slower", p.Slower)
	}
	return nil
}

func (o *observeFlags) parseBackend() (tracer.Backend, error) {
	if o.backend == "auto" {
		return kernel.BackendAuto, nil
	}
	names := []string{"auto"}
	for _, b := range kernel.Backends {
		if string(b) == o.backend {
			return b, nil
		}
		names = append(names, string(b))
	}
	return "", usagef("--backend: %q is none of %s", o.backend, strings.Join(names, ", "))
}

func parsePorts(flag string, list []string) ([]uint16, error) {
	if len(list) > tracer.MaxPorts {
		return nil, usagef("%s: %d ports, at most %d are possible", flag, len(list), tracer.MaxPorts)
	}
	var ports []uint16
	for _, s := range list {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return nil, usagef("%s: %q is no port, 1 to 65535", flag, s)
		}
		ports = append(ports, uint16(n))
	}
	return ports, nil
}

// parseRingSize reads a size in bytes, such as 65536, 64K or 8M, that the
// kernel accepts for a ring buffer: a power of two and of whole pages.
func parseRingSize(s string) (int, error) {
	digits, unit := s, 1
	switch {
	case strings.HasSuffix(s, "K"):
		digits, unit = s[:len(s)-1], 1<<10
	case strings.HasSuffix(s, "M"):
		digits, unit = s[:len(s)-1], 1<<20
	}
	n, err := strconv.Atoi(digits)
	const most = 1 << 30
	if err != nil || n <= 0 || n > most/unit {
		return 0, usagef("--ring-size: %q is no size, such as 64K or 8M, up to 1024M", s)
	}
	n *= unit
	if n&(n-1) != 0 || n%os.Getpagesize() != 0 {
		return 0, usagef("--ring-size: %s is not a power of two of at least %d bytes", s, os.Getpagesize())
	}
	return n, nil
}

// findNetNS resolves namespaces as users name them to inodes.
func findNetNS(specs []string) ([]uint32, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	if len(specs) > tracer.MaxNetNS {
		return nil, usagef("--netns: %d namespaces, at most %d are possible", len(specs), tracer.MaxNetNS)
	}
	resolver := names.New(names.Options{})
	refreshErr := resolver.Refresh()
	inodes := make([]uint32, 0, len(specs))
	for _, spec := range specs {
		ns, err := resolver.Find(spec)
		if err != nil && refreshErr != nil {
			err = fmt.Errorf("%w (%w)", err, refreshErr)
		}
		if err != nil {
			return nil, usagef("--netns: %w", err)
		}
		inodes = append(inodes, ns.Inode)
	}
	return inodes, nil
}

// parsePrefixes reads addresses and prefixes.
func parsePrefixes(flag string, list []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, addrErr := netip.ParseAddr(s)
			if addrErr != nil {
				return nil, usagef("%s: %q is no address or prefix, such as 10.244.1.10 or 10.244.0.0/16", flag, s)
			}
			p = netip.PrefixFrom(a.WithZone(""), a.BitLen())
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// positive checks a duration or count for which 0 and less make no sense.
func positive[T time.Duration | int](flag string, v T) error {
	if v <= 0 {
		return usagef("--%s: %v is not greater than 0", flag, v)
	}
	return nil
}
