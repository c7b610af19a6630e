package rules

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ipvsService is a service of IPVS with its destinations.
type ipvsService struct {
	protocol     uint8
	addr         netip.AddrPort
	scheduler    string
	destinations []netip.AddrPort
	used         []netip.AddrPort // those that new connections go to: their weight is not 0
}

// parseIPVS reads /proc/net/ip_vs. Services of firewall marks are left out.
func parseIPVS(text io.Reader) ([]ipvsService, error) {
	var services []ipvsService
	var last *ipvsService
	s := bufio.NewScanner(text)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 3 {
			continue
		}
		if fields[0] == "->" {
			if addr, ok := parseIPVSAddr(fields[1]); ok && last != nil {
				last.destinations = append(last.destinations, addr)
				if len(fields) < 4 || fields[3] != "0" {
					last.used = append(last.used, addr)
				}
			}
			continue
		}
		last = nil
		protocol, known := map[string]uint8{"UDP": unix.IPPROTO_UDP, "TCP": unix.IPPROTO_TCP}[fields[0]]
		if addr, ok := parseIPVSAddr(fields[1]); ok && known {
			services = append(services, ipvsService{protocol: protocol, addr: addr, scheduler: fields[2]})
			last = &services[len(services)-1]
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read IPVS services: %w", err)
	}
	return services, nil
}

// parseIPVSAddr reads 0A60000A:0035 or [fd00:0010:…:000a]:0035: ports, and IPv4
// addresses too, are hexadecimal.
func parseIPVSAddr(s string) (netip.AddrPort, bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(s[colon+1:], 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	host := s[:colon]
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		return netip.AddrPortFrom(addr, uint16(port)), err == nil
	}
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(port)), ok
}

// answerIPVS returns the service that may have sent the packet where it went.
func answerIPVS(q *Question, services []ipvsService) *Answer {
	for _, s := range services {
		if q.Deed != DNAT || s.protocol != q.Protocol || s.addr != q.Dst {
			continue
		}
		for _, d := range s.destinations {
			if d == q.To {
				return &Answer{Name: fmt.Sprintf("IPVS %v → %v %s", q.Dst, q.To, s.scheduler), IPVS: true}
			}
		}
	}
	return nil
}
