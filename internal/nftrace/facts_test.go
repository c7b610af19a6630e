package nftrace

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// attr is an attribute; with children it is nested.
type attr struct {
	kind     uint16
	data     string
	children []attr
}

func encode(t *testing.T, list ...attr) []byte {
	t.Helper()
	var attrs []netlink.Attribute
	for _, a := range list {
		data := []byte(a.data)
		if a.children != nil {
			data = encode(t, a.children...)
		}
		attrs = append(attrs, netlink.Attribute{Type: a.kind, Data: data})
	}
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// expression makes up one of a rule: its name, and the attributes of its data.
func expression(name string, data ...attr) attr {
	return attr{kind: unix.NFTA_LIST_ELEM, children: []attr{
		{kind: unix.NFTA_EXPR_NAME, data: name + "\x00"}, {kind: unix.NFTA_EXPR_DATA, children: data},
	}}
}

func TestDecodeRule(t *testing.T) {
	extension := func(kind, name, info string) attr {
		return expression(kind, attr{kind: unix.NFTA_MATCH_NAME, data: name + "\x00"}, attr{kind: unix.NFTA_MATCH_INFO, data: info})
	}
	tests := []struct {
		name        string
		userdata    string
		expressions []attr
		want        ruleFacts
	}{
		{"plain", "", []attr{expression("counter", attr{kind: 1, data: "12345678"})}, ruleFacts{}},
		{"commented", "\x00\x04a b\x00", nil, ruleFacts{comment: "a b"}},
		{"commented by iptables", "", []attr{extension("match", "comment", "x\ny\x00\x00\x00garbage")}, ruleFacts{comment: "x y"}},
		{"other match of iptables", "", []attr{extension("match", "conntrack", "comment")}, ruleFacts{}},
		{"dnat", "", []attr{expression("nat", attr{kind: 1, data: "\x00\x00\x00\x01"})}, ruleFacts{nat: true}},
		{"masquerade", "", []attr{expression("masq")}, ruleFacts{nat: true}},
		{"target of iptables that translates", "\x00\x02y\x00", []attr{extension("target", "DNAT", "")}, ruleFacts{comment: "y", nat: true}},
		{"target of iptables that does not", "", []attr{extension("target", "MARK", "")}, ruleFacts{}},
		{"match named like a target", "", []attr{extension("match", "DNAT", "")}, ruleFacts{}},
		{"expression that is no extension", "", []attr{extension("immediate", "DNAT", "")}, ruleFacts{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := append([]byte{2, 0, 0, 0}, encode(t,
				attr{kind: unix.NFTA_RULE_HANDLE, data: "\x00\x00\x00\x00\x00\x00\x00\x07"},
				attr{kind: unix.NFTA_RULE_EXPRESSIONS, children: tt.expressions},
				attr{kind: unix.NFTA_RULE_USERDATA, data: tt.userdata},
			)...)
			if diff := cmp.Diff(tt.want, decodeRule(data), cmp.AllowUnexported(ruleFacts{})); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeChain(t *testing.T) {
	data := append([]byte{2, 0, 0, 0}, encode(t,
		attr{kind: unix.NFTA_CHAIN_NAME, data: "out\x00"}, attr{kind: unix.NFTA_CHAIN_TYPE, data: "nat\x00"},
		attr{kind: unix.NFTA_CHAIN_HOOK, children: []attr{
			{kind: unix.NFTA_HOOK_HOOKNUM, data: "\x00\x00\x00\x03"}, {kind: unix.NFTA_HOOK_PRIORITY, data: "\xff\xff\xff\x9c"},
		}},
	)...)
	if diff := cmp.Diff(Chain{Name: "out", Type: "nat", Hook: 3, Priority: -100}, decodeChain(data)); diff != "" {
		t.Errorf("chain (-want +got):\n%s", diff)
	}
	if c := decodeChain(nil); c != (Chain{}) {
		t.Errorf("of nothing: %+v", c)
	}
}

func TestUserComment(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"none", "", ""},
		{"comment", "\x00\x04a b\x00", "a b"},
		{"after another", "\x07\x02xx\x00\x02y\x00", "y"},
		{"longer than it is", "\x00\x09ab", ""},
		{"only a type", "\x00", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := userComment([]byte(tt.data)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
