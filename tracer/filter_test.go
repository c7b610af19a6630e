package tracer

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestFilter(t *testing.T) {
	lookup := &Lookup{
		Question: &Message{Name: "www.Example.test.", Type: dns.TypeA},
		Client:   netip.MustParseAddrPort("10.244.1.10:41522"),
		Server:   netip.MustParseAddrPort("10.96.0.10:53"), Backend: netip.MustParseAddrPort("10.244.2.53:53"),
	}
	mapped := *lookup
	mapped.Client = netip.MustParseAddrPort("[::ffff:10.244.1.10]:41522")
	nameless := &Lookup{Question: &Message{}}
	reverse := &Lookup{Question: &Message{Name: "1.0/25.2.0.192.in-addr.arpa.", Type: dns.TypePTR}}
	odd := &Lookup{Question: &Message{Name: "a.test.", Type: 65280}}
	prefixes := func(texts ...string) (list []netip.Prefix) {
		for _, text := range texts {
			list = append(list, netip.MustParsePrefix(text))
		}
		return list
	}
	tests := []struct {
		name   string
		opts   FilterOptions
		lookup *Lookup
		want   bool
	}{
		{"all", FilterOptions{}, lookup, true},
		{"all, without a name", FilterOptions{}, nameless, true},

		{"name", FilterOptions{Names: []string{"www.example.test"}}, lookup, true},
		{"name with a dot", FilterOptions{Names: []string{"www.example.test."}}, lookup, true},
		{"name in another case", FilterOptions{Names: []string{"WWW.eXample.TEST"}}, lookup, true},
		{"domain", FilterOptions{Names: []string{"example.test"}}, lookup, true},
		{"root", FilterOptions{Names: []string{"."}}, lookup, true},
		{"end of a label", FilterOptions{Names: []string{"ample.test"}}, lookup, false},
		{"name below", FilterOptions{Names: []string{"a.www.example.test"}}, lookup, false},
		{"one of several names", FilterOptions{Names: []string{"a.test", "example.test"}}, lookup, true},
		{"none of several names", FilterOptions{Names: []string{"a.test", "b.test"}}, lookup, false},
		{"pattern", FilterOptions{Names: []string{"*.example.test"}}, lookup, true},
		{"pattern in another case", FilterOptions{Names: []string{"W*.EXAMPLE.test."}}, lookup, true},
		{"pattern over labels", FilterOptions{Names: []string{"w*test"}}, lookup, true},
		{"pattern of single characters", FilterOptions{Names: []string{"ww?.example.test"}}, lookup, true},
		{"pattern of sets", FilterOptions{Names: []string{"[a-w]ww.*"}}, lookup, true},
		{"pattern for the whole name", FilterOptions{Names: []string{"*.example"}}, lookup, false},
		{"pattern over a slash", FilterOptions{Names: []string{"*.in-addr.arpa"}}, reverse, true},
		{"domain of a name with a slash", FilterOptions{Names: []string{"0/25.2.0.192.in-addr.arpa"}}, reverse, true},
		{"name, but there is none", FilterOptions{Names: []string{"example.test"}}, nameless, false},

		{"type", FilterOptions{Types: []string{"a"}}, lookup, true},
		{"one of several types", FilterOptions{Types: []string{"AAAA", "A"}}, lookup, true},
		{"type by number", FilterOptions{Types: []string{"TYPE1"}}, lookup, true},
		{"type without a name", FilterOptions{Types: []string{"type65280"}}, odd, true},
		{"other type", FilterOptions{Types: []string{"AAAA", "TYPE2"}}, lookup, false},

		{"client", FilterOptions{Clients: prefixes("10.244.0.0/16")}, lookup, true},
		{"client, IPv4 in IPv6", FilterOptions{Clients: prefixes("10.244.0.0/16")}, &mapped, true},
		{"one of several clients", FilterOptions{Clients: prefixes("2001:db8::/32", "10.244.1.10/32")}, lookup, true},
		{"other client", FilterOptions{Clients: prefixes("10.244.2.0/24")}, lookup, false},
		{"client, but there is none", FilterOptions{Clients: prefixes("0.0.0.0/0")}, nameless, false},
		{"service", FilterOptions{Servers: prefixes("10.96.0.10/32")}, lookup, true},
		{"backend", FilterOptions{Servers: prefixes("10.244.2.53/32")}, lookup, true},
		{"other server", FilterOptions{Servers: prefixes("10.244.1.10/32")}, lookup, false},

		{"all kinds", FilterOptions{
			Names: []string{"test"}, Types: []string{"A"}, Clients: prefixes("10.244.1.0/24"), Servers: prefixes("10.96.0.0/16"),
		}, lookup, true},
		{"all kinds but one", FilterOptions{
			Names: []string{"test"}, Types: []string{"AAAA"}, Clients: prefixes("10.244.1.0/24"), Servers: prefixes("10.96.0.0/16"),
		}, lookup, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := NewFilter(tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Match(tt.lookup); got != tt.want {
				t.Errorf("match is %t, want %t", got, tt.want)
			}
		})
	}
}

// TestFilterCopies holds that the caller's options stay as they are.
func TestFilterCopies(t *testing.T) {
	names := []string{"A.test"}
	if _, err := NewFilter(FilterOptions{Names: names}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A.test"}, names); diff != "" {
		t.Errorf("names (-before +after):\n%s", diff)
	}
}

func TestFilterRefused(t *testing.T) {
	tests := []struct {
		name string
		opts FilterOptions
	}{
		{"empty name", FilterOptions{Names: []string{"a.test", ""}}},
		{"open set", FilterOptions{Names: []string{"[a.test"}}},
		{"escape at the end", FilterOptions{Names: []string{`a.test\`}}},
		{"unknown type", FilterOptions{Types: []string{"AAAAA"}}},
		{"empty type", FilterOptions{Types: []string{""}}},
		{"type without a number", FilterOptions{Types: []string{"TYPE"}}},
		{"type that is no number", FilterOptions{Types: []string{"TYPEA"}}},
		{"type with a tail", FilterOptions{Types: []string{"TYPE65x"}}},
		{"type with a blank", FilterOptions{Types: []string{"TYPE 65"}}},
		{"type beyond 16 bits", FilterOptions{Types: []string{"TYPE65536"}}},
		{"negative type", FilterOptions{Types: []string{"TYPE-1"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if f, err := NewFilter(tt.opts); f != nil || !errors.Is(err, ErrPattern) {
				t.Errorf("got %+v, error %v, want ErrPattern", f, err)
			}
		})
	}
}
