package nodestate

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// attributes yields the attributes of a netlink message behind a header of a
// length, by their numbers. It ends at one whose length lies.
func attributes(message []byte, header int) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		if len(message) < header {
			return
		}
		for rest := message[header:]; len(rest) >= unix.NLA_HDRLEN; {
			length := int(binary.NativeEndian.Uint16(rest))
			attr := binary.NativeEndian.Uint16(rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if length < unix.NLA_HDRLEN || length > len(rest) || !yield(attr, rest[unix.NLA_HDRLEN:length]) {
				return
			}
			rest = rest[min((length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(rest)):]
		}
	}
}
