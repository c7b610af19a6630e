package tracer

import (
	"cmp"
	"slices"

	"github.com/miekg/dns"
)

// show hands out lookups that have ended: those that turned out to be of one
// story one after the other.
func (s *stories) show(members []*member) {
	for _, m := range members {
		m.settle()
	}
	for _, m := range members {
		m.out.Links = m.links()
	}
	for _, group := range groups(members) {
		story := storyOf(group)
		for _, m := range group {
			m.out.Story = story
			s.done(m.out)
		}
	}
	for _, m := range members {
		m.out, m.story, m.ties, m.parent, m.before = nil, nil, nil, nil, nil
	}
}

// settle drops the ties of which more is known by now: processes that are not
// the same, a first try that was answered after all.
func (m *member) settle() {
	m.ties = slices.DeleteFunc(m.ties, func(t tie) bool {
		if t.kind == LinkRetryOf {
			reply, _ := t.to.answer()
			return differ(m.pid(), t.to.pid()) || reply != nil && !asksElsewhere[reply.Rcode]
		}
		return differ(m.ends(&t))
	})
	if !slices.ContainsFunc(m.ties, func(t tie) bool { return t.kind == LinkParent }) {
		m.parent = nil
	}
}

// ends returns the processes at both ends of a tie, which are one and the same if
// it holds; 0 unknown.
func (m *member) ends(t *tie) (a, b uint32) {
	switch t.kind {
	case LinkParent:
		return t.to.reader(m.client, m.start), m.pid()
	case LinkChild:
		return m.reader(t.to.client, t.to.start), t.to.pid()
	}
	return m.pid(), t.to.pid()
}

// links says to which lookups m is tied.
func (m *member) links() (links []Link) {
	for _, t := range m.ties {
		how := t.how
		if how == "" {
			how = HowInferred
			if a, b := m.ends(&t); a != 0 && a == b {
				how = HowSeen
			}
		}
		links = append(links, Link{Kind: t.kind, How: how, Ref: t.to.reference(), Try: t.try})
	}
	return links
}

// groups splits lookups into those that are tied to each other, each in the order
// in which it is shown.
func groups(members []*member) (all [][]*member) {
	if len(members) == 1 {
		return [][]*member{members}
	}
	number := map[*member]int{}
	for _, m := range members {
		number[m] = 0
	}
	slices.SortStableFunc(members, func(a, b *member) int { return cmp.Compare(a.out.Start, b.out.Start) })
	for _, m := range members {
		if number[m] != 0 {
			continue
		}
		n := len(all) + 1
		group := []*member{m}
		number[m] = n
		for i := 0; i < len(group); i++ {
			for _, t := range group[i].ties {
				if old, here := number[t.to]; here && old == 0 && t.kind != LinkRetryOf {
					number[t.to] = n
					group = append(group, t.to)
				}
			}
		}
		all = append(all, inOrder(group))
	}
	return all
}

// inOrder sorts a group by start, each lookup followed by those that it caused.
func inOrder(group []*member) []*member {
	slices.SortStableFunc(group, func(a, b *member) int { return cmp.Compare(a.out.Start, b.out.Start) })
	ordered := make([]*member, 0, len(group))
	var add func(m *member)
	add = func(m *member) {
		ordered = append(ordered, m)
		for _, child := range group {
			if child.parent == m {
				add(child)
			}
		}
	}
	for _, m := range group {
		if m.parent == nil || !slices.Contains(group, m.parent) {
			add(m)
		}
	}
	return ordered
}

// storyOf tells what a group of lookups has in common; nil if it is but one.
func storyOf(group []*member) *Story {
	if len(group) < 2 {
		return nil
	}
	st := &Story{First: group[0].out.Ref(), Name: group[0].out.Question.Name, Lookups: len(group)}
	base := ""
	for _, m := range group {
		if m.base != "" && (base == "" || len(m.base) < len(base)) {
			base = m.base
		}
	}
	if base != "" {
		st.Name = base
	}
	for _, m := range group {
		st.count(m, base)
	}
	return st
}

func (st *Story) count(m *member, base string) {
	for _, t := range m.ties {
		switch t.kind {
		case LinkParent:
			st.Caused++
		case LinkTruncationOf:
			st.OverTCP++
		}
	}
	if base == "" || m.parent != nil || m.reply == nil || !beginsWith(m.name, base) || m.name == base+"." {
		return
	}
	switch {
	case m.reply.Rcode == dns.RcodeNameError:
		st.NXDomain++
	case noData(m.reply):
		st.NoData++
	}
}
