package diagnose

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestStaleEndpoint(t *testing.T) {
	other := netip.MustParseAddrPort("10.244.1.53:53")
	redirected := func(by *tracer.By) tracer.Hop {
		return tracer.Hop{
			Name: "nat", NetNS: nsNodeA, Src: client, Dst: backend,
			Change: &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backend, Conntrack: true, By: by},
		}
	}
	established := redirected(byRule("iptables nat PREROUTING → KUBE-SERVICES", ""))
	established.CT = &tracer.Conntrack{Info: 0}
	dropped := dropIn(tracer.HookInput, tracer.Drop{})
	dropped.NetNS, dropped.Src, dropped.Dst = nsNodeA, client, service
	anywhere := dropIn("", tracer.Drop{})
	anywhere.NetNS, anywhere.Src, anywhere.Dst = nsNodeA, client, service
	told := tracer.Hop{Name: "icmp", NetNS: nsNodeA, Src: client, Dst: service, ICMP: &tracer.ICMP{Type: 3, Code: 3}}
	noSocket := tracer.Hop{Name: "drop", NetNS: nsServer, Drop: &tracer.Drop{Reason: "NO_SOCKET", Function: "__udp4_lib_rcv"}}

	serves := func(by string, known bool, endpoints ...netip.AddrPort) *fakeNS {
		return &fakeNS{
			name:     "node-a",
			services: map[tracer.Transport]*Service{tracer.TransportUDP: {By: by, Known: known, Endpoints: endpoints}},
			entries:  []ConntrackEntry{{Transport: tracer.TransportUDP, Orig: tracer.Flow{Src: client, Dst: service}, Reply: tracer.Flow{Src: backend, Dst: client}}},
			sysctls:  map[string]string{"net/ipv4/vs/expire_nodest_conn": "0"},
		}
	}
	expires := serves("IPVS", true, other)
	expires.sysctls = map[string]string{"net/ipv4/vs/expire_nodest_conn": "1"}
	const finding = "stale-endpoint"
	for _, c := range []struct {
		name string
		node *fakeNS
		hops []tracer.Hop
		want string
	}{
		{"another endpoint", serves("iptables", true, other), []tracer.Hop{redirected(nil)}, finding},
		{"none any more", serves("nftables", true), []tracer.Hop{redirected(nil)}, finding},
		{"of IPVS", serves("IPVS", true, other), []tracer.Hop{redirected(&tracer.By{Name: "IPVS", Part: true})}, finding},
		{"its entry had seen replies", serves("iptables", true, other), []tracer.Hop{established}, finding},
		{"and its address is somebody else's", serves("iptables", true, other), []tracer.Hop{redirected(nil), noSocket}, finding},
		{"IPVS drops it", serves("IPVS", true, other), []tracer.Hop{dropped}, finding},
		{"IPVS drops it, hook not seen", serves("IPVS", true, other), []tracer.Hop{anywhere}, finding},
		{"still an endpoint", serves("iptables", true, other, backend), []tracer.Hop{redirected(nil)}, Unexplained},
		{"perhaps still one", serves("iptables", false, other), []tracer.Hop{redirected(nil)}, Unexplained},
		{"a rule chose it just then", serves("iptables", true, other), []tracer.Hop{redirected(byRule("iptables nat PREROUTING → KUBE-SERVICES", ""))}, Unexplained},
		{"state unreadable", &fakeNS{err: errors.New("no permission")}, []tracer.Hop{redirected(nil)}, Unexplained},
		{"IPVS said so: no real server", serves("IPVS", true), []tracer.Hop{told, dropped}, "service-no-endpoints"},
		{"IPVS lets it expire", expires, []tracer.Hop{dropped}, Unexplained},
		{"no IPVS", serves("iptables", true, other), []tracer.Hop{dropped}, Unexplained},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkDiagnosis(t, fakeNode{nsNodeA: c.node, nsServer: {name: "dns-b"}}, fakeLookup(tracer.OutcomeLost, c.hops...), c.want)
		})
	}
}
