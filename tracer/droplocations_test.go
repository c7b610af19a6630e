package tracer

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	tests := []struct {
		name           string
		drop           Drop
		text, inferred string
	}{
		{"reason", Drop{Reason: "IP_RPFILTER", Function: "ip_rcv_finish_core"},
			"IP_RPFILTER in ip_rcv_finish_core: reverse path filtering (rp_filter) refused its source", ""},
		{"reason in a hook", Drop{Reason: "NETFILTER_DROP", Function: "nf_hook_slow", Hook: HookForward}, "NETFILTER_DROP in nf_hook_slow", ""},
		{"reason that is not known", Drop{Reason: "MARS", Function: "nf_hook_slow"}, "MARS in nf_hook_slow", ""},
		{"reason alone", Drop{Reason: "NOMEM"}, "NOMEM: there was no memory", ""},
		{"function with one reason", Drop{Function: "nf_hook_slow"},
			"dropped in nf_hook_slow: a netfilter hook refused it (this kernel gives no reason)", "NETFILTER_DROP"},
		{"function with several", Drop{Function: "ip_forward"},
			"dropped in ip_forward: one of: its hop limit is used up; too big for its way (MTU); refused by an IPsec policy or by its options" +
				" (this kernel gives no reason)", ""},
		{"function without", Drop{Function: "ip_fragment"},
			"dropped in ip_fragment: it is too big for its way (MTU), and must not be fragmented (DF) (this kernel gives no reason)", ""},
		{"function that is not known", Drop{Function: "consume"}, "no reason given in consume", ""},
		{"nothing", Drop{}, "no reason given", ""},
		{"reason not specified, function without", Drop{Reason: "NOT_SPECIFIED", Function: "ip_fragment"},
			"NOT_SPECIFIED in ip_fragment: it is too big for its way (MTU), and must not be fragmented (DF)", ""},
		{"reason not specified, where another would be", Drop{Reason: "NOT_SPECIFIED", Function: "nf_hook_slow"}, "NOT_SPECIFIED in nf_hook_slow", ""},
		{"socket without room", Drop{Errno: 12}, "the socket's receive buffer is full", ""},
		{"protocol without memory", Drop{Errno: 105}, "the protocol's memory (udp_mem, tcp_mem) is used up", ""},
		{"socket that refused it otherwise", Drop{Errno: 1}, "no reason given", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.drop.explain()
			if diff := cmp.Diff([]string{tt.text, tt.inferred}, []string{tt.drop.String(), tt.drop.Inferred}); diff != "" {
				t.Errorf("text, reason inferred (-want +got):\n%s", diff)
			}
		})
	}
}

// The table says "one of" where there are several causes, and knows its reasons.
func TestDropLocations(t *testing.T) {
	seen := map[string]bool{}
	for _, at := range dropLocations {
		if seen[at.function] {
			t.Errorf("%s is there twice", at.function)
		}
		seen[at.function] = true
		if at.function == "" || at.meaning == "" || !strings.HasSuffix(at.file, ".c") && !strings.HasSuffix(at.file, ".h") {
			t.Errorf("%s: incomplete: %+v", at.function, at)
		}
		for i, reason := range at.reasons {
			if dropReasons[reason] == "" && reason != unspecified {
				t.Errorf("%s: %s is no reason that is known", at.function, reason)
			}
			if slices.Contains(at.reasons[:i], reason) {
				t.Errorf("%s: %s is there twice", at.function, reason)
			}
		}
		named := len(at.reasons) - strings.Count(strings.Join(at.reasons, " "), unspecified)
		if named > 1 && !strings.Contains(at.meaning, "one of: ") {
			t.Errorf("%s has %d reasons, and its meaning names one: %q", at.function, named, at.meaning)
		}
		if len(at.reasons) == 1 && (strings.Contains(at.meaning, "one of") || at.reasons[0] == unspecified) {
			t.Errorf("%s has one reason, %s, and several meanings: %q", at.function, at.reasons[0], at.meaning)
		}
	}
}

// What a function alone is taken to say is what kernels with reasons say there.
func TestInferredReasons(t *testing.T) {
	want := map[string]string{
		"nf_hook_slow": "NETFILTER_DROP", "__first_packet_length": "UDP_CSUM",
		"ip_expire": "FRAG_REASM_TIMEOUT", "ip6_frag_expire": "FRAG_REASM_TIMEOUT",
		"arp_error_report": "NEIGH_FAILED", "ndisc_error_report": "NEIGH_FAILED", "neigh_invalidate": "NEIGH_FAILED",
		"neigh_resolve_output": "NEIGH_HH_FILLFAIL", "neigh_connected_output": "NEIGH_HH_FILLFAIL",
	}
	got := map[string]string{}
	for _, at := range dropLocations {
		d := Drop{Function: at.function}
		if d.explain(); d.Inferred != "" {
			got[at.function] = d.Inferred
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons inferred (-want +got):\n%s", diff)
	}
}
