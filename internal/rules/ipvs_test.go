package rules

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ipvsTable is /proc/net/ip_vs of a node of Kubernetes, with a service of a
// firewall mark added.
const ipvsTable = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60000A:0035 rr
  -> 0AF40235:0035      Masq    1      0          0
UDP  0A60000A:0035 rr
  -> 0AF40235:0035      Masq    1      0          12
  -> 0AF40135:0035      Masq    1      0          11
FWM  00000001 wlc
  -> 0AF40335:0035      Masq    1      0          0
UDP  [fd00:0010:0096:0000:0000:0000:0000:000a]:0035 sh persistent 10800
  -> [fd00:0010:0244:0002:0000:0000:0000:0053]:0035      Masq    1      0          0
`

func TestIPVS(t *testing.T) {
	services, err := parseIPVS(strings.NewReader(ipvsTable))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		dst, to netip.AddrPort
		deed    Deed
		want    *Answer
	}{
		{"service", service, backendB, DNAT, &Answer{Name: "IPVS 10.96.0.10:53 → 10.244.2.53:53 rr", IPVS: true}},
		{
			"IPv6", addrPort("[fd00:10:96::a]:53"), addrPort("[fd00:10:244:2::53]:53"), DNAT,
			&Answer{Name: "IPVS [fd00:10:96::a]:53 → [fd00:10:244:2::53]:53 sh", IPVS: true},
		},
		{"another destination", service, addrPort("10.244.3.53:53"), DNAT, nil},
		{"another service", addrPort("10.96.0.11:53"), backendB, DNAT, nil},
		{"a source", service, backendB, SNAT, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := answerIPVS(&Question{Deed: tt.deed, Protocol: udp, Src: pod, Dst: tt.dst, To: tt.to}, services)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseIPVS(f *testing.F) {
	f.Add(ipvsTable)
	f.Fuzz(func(t *testing.T, text string) {
		services, err := parseIPVS(strings.NewReader(text))
		for _, s := range services {
			if err == nil && !s.addr.IsValid() {
				t.Errorf("service without an address: %+v", s)
			}
		}
	})
}
