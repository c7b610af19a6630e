package tracer

// maxStrays bounds Lookup.Strays.
const maxStrays = 8

// Stray is a reply that came to a lookup's client, at the port at which that
// waited, from the server asked, and is none to its query: its ID is another, or
// its question. Clients ignore such.
type Stray struct {
	Message *Message
	First   Hop // where it was seen first
}

// strays returns the replies of open lookups without a query that came while l
// waited at the same port, and would answer it but for their ID or question.
func (c *Correlator) strays(l *lookupState) (found []Stray) {
	if l.conn != nil || l.reached || l.question == nil {
		return nil
	}
	for _, key := range l.keys {
		if key.kind != flowAny {
			continue
		}
		for o, n := c.flows[key], 0; o != nil && n < maxLegs && len(found) < maxStrays; o, n = o.olderBy(key), n+1 {
			if s := l.strayOf(o); s != nil {
				found = append(found, *s)
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// strayOf returns the one reply of o, if that is all there is of it and it is
// nearly one to l.
func (l *lookupState) strayOf(o *lookupState) *Stray {
	if o == l || o.conn != nil || len(o.legs) == 0 || o.start < l.start {
		return nil
	}
	for _, leg := range o.legs {
		if !leg.isReply() {
			return nil
		}
	}
	reply := o.legs[0]
	if m := reply.message; m == nil || len(reply.events) == 0 || m.Name == "" || (m.ID == l.id) == l.asks(m) {
		return nil
	}
	return &Stray{Message: reply.message, First: hopOf(reply.events[0])}
}
