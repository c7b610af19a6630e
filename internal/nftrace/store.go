package nftrace

// maxSteps bounds the steps that are kept, some 20 MiB.
const maxSteps = 1 << 16

// store keeps the newest steps, and finds those of a DNS ID.
type store struct {
	ring []*kept
	next int // where the oldest is, once the ring is full
	byID map[uint16][]*kept
}

// kept is a step and where its rule's text will be.
type kept struct {
	step Step
	rule *rule // nil of a policy
}

// rule is what is known of a rule beyond its handle.
type rule struct {
	ruleFacts
	text   string
	listed bool // nft was asked
}

func (s *store) add(k *kept) {
	if s.byID == nil {
		s.byID = map[uint16][]*kept{}
	}
	if len(s.ring) < maxSteps {
		s.ring = append(s.ring, k)
	} else {
		s.drop(s.ring[s.next])
		s.ring[s.next] = k
		s.next = (s.next + 1) % maxSteps
	}
	s.byID[k.step.DNSID] = append(s.byID[k.step.DNSID], k)
}

// drop takes the oldest step out of its list, where it is the first.
func (s *store) drop(k *kept) {
	rest := s.byID[k.step.DNSID][1:]
	if len(rest) == 0 {
		delete(s.byID, k.step.DNSID)
		return
	}
	s.byID[k.step.DNSID] = rest
}

// find returns the steps of a DNS ID, in the order in which they were read.
func (s *store) find(id uint16) []Step {
	var steps []Step
	for _, k := range s.byID[id] {
		step := k.step
		if k.rule != nil {
			step.Text, step.Comment, step.NAT = k.rule.text, k.rule.comment, k.rule.nat
		}
		steps = append(steps, step)
	}
	return steps
}
