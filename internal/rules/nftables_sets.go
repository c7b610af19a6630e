package rules

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// members returns the elements of a set that a key is in, or may be in; and
// whether it is in any. The kernel tells an interval as two elements: where it
// begins, and where it has ended; those of concatenations have both ends.
func members(elements []nftables.SetElement, key func(n int) value) (found []nftables.SetElement, is tri) {
	is = no
	var other *nftables.SetElement // for all that is in no other element
	intervals := slices.ContainsFunc(elements, func(e nftables.SetElement) bool { return e.IntervalEnd })
	if intervals {
		elements = slices.Clone(elements)
		slices.SortStableFunc(elements, func(a, b nftables.SetElement) int {
			return bytes.Compare(a.Key, b.Key)
		})
	}
	for i, e := range elements {
		answer := no
		switch {
		case e.IntervalEnd:
		case len(e.Key) == 0:
			other = &elements[i]
		case e.KeyEnd != nil:
			answer = inConcatenation(key(len(e.Key)), e)
		case intervals:
			answer = inInterval(key(len(e.Key)), e, elements[i+1:])
		default:
			answer = key(len(e.Key)).equal(e.Key)
		}
		if answer == yes {
			return []nftables.SetElement{e}, yes
		}
		if answer == maybe {
			found, is = append(found, e), maybe
		}
	}
	switch {
	case other == nil:
		return found, is
	case is == no:
		return []nftables.SetElement{*other}, yes
	}
	return append(found, *other), maybe
}

// inInterval reports whether a key is from e on, and before the next element.
func inInterval(key value, e nftables.SetElement, rest []nftables.SetElement) tri {
	from := key.compare(expr.CmpOpGte, e.Key)
	for _, next := range rest {
		if !bytes.Equal(next.Key, e.Key) {
			return min(from, key.compare(expr.CmpOpLt, next.Key))
		}
	}
	return from
}

// inConcatenation compares field by field. How long each is, is not told here;
// all begin at multiples of four bytes, and longer ones are compared alike in
// parts as long as their upper parts are the same, or range over everything.
func inConcatenation(key value, e nftables.SetElement) tri {
	result := yes
	for i := 0; i+4 <= len(e.Key) && i+4 <= len(e.KeyEnd); i += 4 {
		in := key.cut(i, 4).between(e.Key[i:i+4], e.KeyEnd[i:i+4])
		if result = min(result, in); result == no {
			return no
		}
	}
	return result
}

// elementVerdict reads the verdict of a map's element (NFTA_DATA_VERDICT): the
// library leaves it as it came.
func elementVerdict(e nftables.SetElement) *expr.Verdict {
	if e.VerdictData != nil {
		return e.VerdictData
	}
	attrs, err := netlink.NewAttributeDecoder(e.Val)
	if err != nil {
		return nil
	}
	attrs.ByteOrder = binary.BigEndian
	v := &expr.Verdict{Kind: expr.VerdictAccept}
	for attrs.Next() {
		switch attrs.Type() {
		case unix.NFTA_VERDICT_CODE:
			v.Kind = expr.VerdictKind(int32(attrs.Uint32()))
		case unix.NFTA_VERDICT_CHAIN:
			v.Chain = strings.TrimRight(attrs.String(), "\x00")
		}
	}
	if attrs.Err() != nil {
		return nil
	}
	return v
}
