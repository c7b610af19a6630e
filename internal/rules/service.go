package rules

import (
	"errors"
	"math"
	"net/netip"
	"slices"

	"github.com/dnspath/dnspath/tracer"
)

// ServiceQuery asks how rules translate packets to an address.
type ServiceQuery struct {
	Protocol uint8          // as in the IP header
	Addr     netip.AddrPort // that packets are sent to
	Local    bool           // it is the namespace's own
}

// Service is where rules, or IPVS, lead packets to an address.
type Service struct {
	By        string           // iptables, nftables, IPVS; empty if just NoTrack
	Endpoints []netip.AddrPort // that a packet may be sent on to, in order
	Rejects   bool             // a rule for this address answers with an ICMP error
	NoTrack   bool             // a rule for this address exempts packets from conntrack, so that no NAT is done
	Known     bool             // Endpoints are all that there are
}

// Service returns what rules and IPVS make of packets to an address, from any
// source; nil if neither knows it, or the namespace has gone.
func (r *Reader) Service(netns uint32, q ServiceQuery) (*Service, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, err := r.service(netns, q)
	if errors.Is(err, errLate) { // it grew old since it was taken for new
		return r.service(netns, q)
	}
	return found, err
}

func (r *Reader) service(netns uint32, q ServiceQuery) (*Service, error) {
	s := r.upToDate(netns)
	if s == nil || s.err != nil {
		return nil, spaceError(s)
	}
	if found, ok := s.services[q]; ok {
		return found, nil
	}
	found, err := s.service(&q)
	if errors.Is(err, errCut) {
		return nil, err
	}
	if err != nil {
		return nil, s.fail(err)
	}
	if len(s.services) < maxAnswers {
		s.services[q] = found
	}
	return found, nil
}

// Masquerades returns the rule that surely gives the first packet of a flow, without
// a mark, another source as it leaves by a device; nil if none does, or the namespace
// has gone.
func (r *Reader) Masquerades(netns uint32, protocol uint8, flow tracer.Flow, out string) (*Answer, error) {
	return r.Ask(netns, &Question{
		Deed: SNAT, Hook: tracer.HookPostrouting, Seen: true, Protocol: protocol, Shape: firstShape(protocol), Src: flow.Src, Dst: flow.Dst, Out: out,
		Mark: new(uint32), Time: math.MaxUint64, Tracked: Tracked{State: stateNew}, Certain: true,
	})
}

// errCut is returned for an address that may be one of those services that were
// not read.
var errCut = errors.New("IPVS has more services than can be read")

// aspect is one thing that rules may do with a service's packets, and where.
type aspect struct {
	deed  Deed
	hooks []tracer.Hook
	take  func(*Service, []candidate, *Question)
}

var aspects = []aspect{
	{lead, []tracer.Hook{tracer.HookPrerouting, tracer.HookOutput}, (*Service).addEndpoints},
	{Reject, []tracer.Hook{tracer.HookPrerouting, tracer.HookInput, tracer.HookForward, tracer.HookOutput}, (*Service).addRejects},
	{exempt, []tracer.Hook{tracer.HookPrerouting, tracer.HookOutput}, (*Service).addExempts},
}

// service asks the rules of all hooks that the first packet of a connection to
// the address may come to, then IPVS.
func (s *space) service(q *ServiceQuery) (*Service, error) {
	found := &Service{Known: true}
	for _, a := range aspects {
		for _, hook := range a.hooks {
			question := q.question(a.deed, hook)
			bases, err := s.bases(question)
			if err != nil {
				return nil, err
			}
			rules, err := special(question, bases)
			if err != nil {
				return nil, err
			}
			a.take(found, rules, question)
		}
	}
	if err := s.addIPVS(found, q); err != nil {
		return nil, err
	}
	if found.By == "" && !found.NoTrack {
		return nil, nil
	}
	return found, nil
}

// question asks for a deed. What counters say of packets until now does not
// matter.
func (q *ServiceQuery) question(deed Deed, hook tracer.Hook) *Question {
	return &Question{
		Deed: deed, Hook: hook, Seen: true, Protocol: q.Protocol, Dst: q.Addr, Shape: firstShape(q.Protocol),
		Time: math.MaxUint64, Tracked: Tracked{State: stateNew}, Local: &q.Local,
	}
}

// firstShape is that of the first packet of a connection.
func firstShape(protocol uint8) Shape {
	if protocol == transportProtocol(true) {
		return segmentFlags["SYN"]
	}
	return Shape{}
}

// Addresses that nothing is sent to: of class E (RFC 1112), and of the prefix
// that is for discarding (RFC 6666).
var (
	nowhere4 = netip.AddrFrom4([4]byte{240, 0, 0, 1})
	nowhere6 = netip.MustParseAddr("100::1")
)

// special returns the rules that do a deed to packets to the address. Those that
// do it to packets to any other address too are not about this one: they are left
// out, unless they send them on.
func special(q *Question, bases []base) ([]candidate, error) {
	found, _, err := findCandidates(q, bases)
	if err != nil || q.Deed == lead || len(found) == 0 {
		return found, err
	}
	other := *q
	other.Local = nil
	other.Dst = netip.AddrPortFrom(family(q, nowhere4, nowhere6), q.Dst.Port())
	general, _, err := findCandidates(&other, bases)
	return slices.DeleteFunc(found, func(c candidate) bool {
		return slices.ContainsFunc(general, func(g candidate) bool { return g.base == c.base && g.rule == c.rule })
	}), err
}

func (f *Service) addEndpoints(rules []candidate, q *Question) {
	for _, c := range rules {
		f.addBy(c)
		t := c.does.nat
		if t.unknown || t.here || len(t.ranges) == 0 {
			f.Known = false
			continue
		}
		for _, r := range t.ranges {
			to, one := r.endpoint(q.Dst)
			if !one {
				f.Known = false
			} else if !slices.Contains(f.Endpoints, to) {
				f.Endpoints = append(f.Endpoints, to)
			}
		}
	}
	slices.SortFunc(f.Endpoints, netip.AddrPort.Compare)
}

// endpoint returns the one address that packets to dst are sent on to, unless
// there are several.
func (r *natRange) endpoint(dst netip.AddrPort) (to netip.AddrPort, one bool) {
	addr, port := dst.Addr(), dst.Port()
	if r.from.IsValid() {
		addr = r.from
	}
	if r.low != 0 {
		port = r.low
	}
	return netip.AddrPortFrom(addr, port), r.from == r.to && r.low == r.top
}

func (f *Service) addRejects(rules []candidate, _ *Question) {
	for _, c := range rules {
		if c.exact {
			f.addBy(c)
			f.Rejects = true
		}
	}
}

func (f *Service) addExempts(rules []candidate, _ *Question) {
	f.NoTrack = f.NoTrack || slices.ContainsFunc(rules, func(c candidate) bool { return c.exact })
}

// addBy keeps whose rules know the service.
func (f *Service) addBy(c candidate) {
	if f.By != "" {
		return
	}
	f.By = "nftables"
	if _, ok := c.base.table.(*iptablesTable); ok {
		f.By = "iptables"
	}
}

// addIPVS asks IPVS, to which packets come that no rule has sent on.
func (s *space) addIPVS(f *Service, q *ServiceQuery) error {
	if len(f.Endpoints) > 0 {
		return nil
	}
	if err := s.readIPVS(); err != nil {
		return err
	}
	for _, service := range s.ipvs {
		if service.protocol == q.Protocol && service.addr == q.Addr {
			f.By, f.Endpoints = "IPVS", slices.Clone(service.used)
			slices.SortFunc(f.Endpoints, netip.AddrPort.Compare)
			return nil
		}
	}
	if s.ipvsCut && f.By == "" {
		return errCut
	}
	return nil
}
