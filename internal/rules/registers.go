package rules

import (
	"bytes"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// value is bytes of which some, or some bits, are unknown.
type value struct {
	data  []byte
	known []byte // its bits that are set
}

// allBits are those of a byte.
const allBits = 0xff

func knownValue(data []byte) value {
	v := unknownValue(len(data))
	v.set(0, data)
	return v
}

func unknownValue(n int) value { return value{make([]byte, n), make([]byte, n)} }

// set makes bytes known.
func (v value) set(at int, data []byte) {
	copy(v.data[at:], data)
	for i := range data {
		v.known[at+i] = allBits
	}
}

// setBits makes bits of one byte known.
func (v value) setBits(at int, data, known byte) { v.data[at], v.known[at] = data, known }

// cut returns a part; what is beyond the end is unknown.
func (v value) cut(at, n int) value {
	out := unknownValue(n)
	if at < len(v.data) {
		copy(out.data, v.data[at:])
		copy(out.known, v.known[at:])
	}
	return out
}

// whole reports whether all bits are known.
func (v value) whole() bool {
	for _, k := range v.known {
		if k != allBits {
			return false
		}
	}
	return true
}

// equal compares with as many bytes as want has.
func (v value) equal(want []byte) tri {
	result := yes
	for i := range want {
		switch {
		case i >= len(v.data):
			result = maybe
		case (v.data[i]^want[i])&v.known[i] != 0:
			return no
		case v.known[i] != allBits:
			result = maybe
		}
	}
	return result
}

// compare applies an operator of nftables, which compares as memcmp does.
func (v value) compare(op expr.CmpOp, want []byte) tri {
	switch op {
	case expr.CmpOpEq:
		return v.equal(want)
	case expr.CmpOpNeq:
		return v.equal(want).not(true)
	}
	got := v.cut(0, len(want))
	if !got.whole() {
		return maybe
	}
	order := bytes.Compare(got.data, want)
	switch op {
	case expr.CmpOpLt:
		return truth(order < 0)
	case expr.CmpOpLte:
		return truth(order <= 0)
	case expr.CmpOpGt:
		return truth(order > 0)
	case expr.CmpOpGte:
		return truth(order >= 0)
	}
	return maybe
}

// between compares with both ends of a range, which belong to it.
func (v value) between(low, top []byte) tri {
	return min(v.compare(expr.CmpOpGte, low), v.compare(expr.CmpOpLte, top))
}

// mask returns (v & mask) ^ xor.
func (v value) mask(mask, xor []byte) value {
	out := v.cut(0, len(mask))
	for i := range mask {
		out.known[i] |= ^mask[i]
		out.data[i] = out.data[i]&mask[i] ^ at(xor, i)
	}
	return out
}

func at(data []byte, i int) byte {
	if i < len(data) {
		return data[i]
	}
	return 0
}

// registers are those of nftables: 64 bytes, as four of 16 or sixteen of 4
// (enum nft_registers).
type registers struct{ all value }

const (
	registerBytes = 64
	longRegister  = 16 // bytes; also what a load of unknown length may fill
)

func newRegisters() *registers { return &registers{unknownValue(registerBytes)} }

// offset returns where a register begins.
func offset(register uint32) int {
	if register >= unix.NFT_REG32_00 {
		return int(register-unix.NFT_REG32_00) * 4 % registerBytes
	}
	return max(0, int(register)-1) * longRegister % registerBytes
}

func (r *registers) load(register uint32, n int) value { return r.all.cut(offset(register), n) }

// store fills registers; the last of them is padded with zeros.
func (r *registers) store(register uint32, v value) {
	padding := byte(0)
	if len(v.known) > 0 && v.known[0] != 0 {
		padding = allBits // the kernel clears the rest
	}
	for len(v.data)%4 != 0 {
		v = value{append(v.data, 0), append(v.known, padding)}
	}
	start := offset(register)
	copy(r.all.data[start:], v.data)
	copy(r.all.known[start:], v.known)
}
