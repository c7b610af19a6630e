package tracer

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// FilterOptions select lookups. What is empty selects all; several values of
// one kind are alternatives.
type FilterOptions struct {
	Names   []string       // "example.test" takes the name and all below it; * and ? match within the whole name
	Types   []string       // "A", "AAAA", "TYPE65"
	Clients []netip.Prefix // addresses of the client
	Servers []netip.Prefix // addresses that the client asked, or that the query was translated to
}

// Filter says which lookups somebody wants to see. It is applied to finished
// lookups, not to packets: only a whole lookup has both addresses of a
// translated server.
type Filter struct {
	opts  FilterOptions
	types []uint16
}

// NewFilter checks opts. The error wraps ErrPattern.
func NewFilter(opts FilterOptions) (*Filter, error) {
	f := &Filter{opts: opts}
	f.opts.Names = make([]string, len(opts.Names))
	for i, name := range opts.Names {
		if _, err := path.Match(name, ""); err != nil || name == "" {
			return nil, fmt.Errorf("%w: name %q", ErrPattern, name)
		}
		f.opts.Names[i] = slashless(dns.Fqdn(strings.ToLower(name)))
	}
	for _, t := range opts.Types {
		number, ok := dns.StringToType[strings.ToUpper(t)]
		if !ok {
			digits, generic := strings.CutPrefix(strings.ToUpper(t), "TYPE") // RFC 3597 section 5
			n, err := strconv.ParseUint(digits, 10, 16)
			if !generic || err != nil {
				return nil, fmt.Errorf("%w: query type %q; A, AAAA, SRV, TYPE65 are some", ErrPattern, t)
			}
			number = uint16(n)
		}
		f.types = append(f.types, number)
	}
	return f, nil
}

// Match reports whether l is selected.
func (f *Filter) Match(l *Lookup) bool {
	return f.matchName(l.Question.Name) &&
		(len(f.types) == 0 || slices.Contains(f.types, l.Question.Type)) &&
		within(f.opts.Clients, l.Client) &&
		(within(f.opts.Servers, l.Server) || within(f.opts.Servers, l.Backend))
}

func (f *Filter) matchName(name string) bool {
	if len(f.opts.Names) == 0 {
		return true
	}
	name = slashless(strings.ToLower(name))
	return slices.ContainsFunc(f.opts.Names, func(pattern string) bool {
		if strings.ContainsAny(pattern, "*?[") {
			ok, err := path.Match(pattern, name)
			return ok && err == nil
		}
		return name == pattern || pattern == "." || strings.HasSuffix(name, "."+pattern)
	})
}

// slashless hides what path.Match has for a separator and DNS for a letter, as
// in names of RFC 2317.
func slashless(name string) string { return strings.ReplaceAll(name, "/", "\x00") }

func within(prefixes []netip.Prefix, a netip.AddrPort) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p netip.Prefix) bool {
		return p.Contains(a.Addr().Unmap())
	})
}
