package tracer

import (
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
)

// Message is what a DNS message says, as far as it could be read.
type Message struct {
	ID       uint16
	Response bool
	Rcode    int    // RFC 1035 section 4.1.1; of responses
	Name     string // of the question, in presentation format: binary labels are escaped; "" if there is none
	Type     uint16
	Class    uint16
	Answers  []netip.Addr // of A and AAAA records
	Records  int          // answer records, as the header counts them
	TC       bool         // truncated by the server
	UDPSize  uint16       // of EDNS (RFC 6891 section 6.2.3): what the sender takes over UDP, bytes; 0: no EDNS seen
	Partial  bool         // not all of the message was captured: Answers may lack some
	Defect   string       // why it is malformed; "" if nothing that was read is
}

// Refuses reports whether a reply says that its server can't, or won't, answer.
func (m *Message) Refuses() bool {
	return m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused
}

// headerLen is the length of a DNS header, RFC 1035 section 4.1.1.
const headerLen = 12

// maxAnswers bounds Message.Answers.
const maxAnswers = 16

// ParseMessage reads a DNS message of length bytes, of which data is the
// captured part. It never fails: what is wrong with a message is its Defect.
func ParseMessage(data []byte, length int) *Message {
	m := &Message{Partial: len(data) < length}
	if length < headerLen {
		m.Defect = fmt.Sprintf("message of %d bytes, a DNS header takes %d", length, headerLen)
		return m
	}
	if len(data) < headerLen {
		m.Defect = "header not captured"
		return m
	}
	m.ID = be16(data, 0)
	flags := be16(data, 2)
	m.Response = flags&0x8000 != 0
	m.TC = flags&0x0200 != 0
	m.Rcode = int(flags & 0xf)
	questions := be16(data, 4)
	m.Records = int(be16(data, 6))
	off := headerLen
	for range min(questions, 1) {
		name, next, err := dns.UnpackDomainName(data, off)
		if err != nil || next+4 > len(data) {
			if !m.Partial {
				m.Defect = questionDefect(data, off)
			}
			return m
		}
		m.Name, m.Type, m.Class = name, be16(data, next), be16(data, next+2)
		off = next + 4
	}
	switch {
	case questions > 1:
		m.Defect = fmt.Sprintf("%d questions in one message", questions)
	case questions == 0 && !m.Response:
		m.Defect = "query without a question"
	default:
		if off = m.readAnswers(data, off); off > 0 {
			m.readOptions(data, off, int(be16(data, 8))+int(be16(data, 10)))
		}
	}
	return m
}

// maxOthers bounds the records behind the answers that are looked at.
const maxOthers = 64

// readOptions looks for EDNS among n records. What is malformed there is no
// defect of the answers.
func (m *Message) readOptions(data []byte, off, n int) {
	for range min(n, maxOthers) {
		rr, next, err := dns.UnpackRR(data, off)
		if err != nil || next <= off {
			return
		}
		if opt, ok := rr.(*dns.OPT); ok {
			m.UDPSize = opt.UDPSize()
			return
		}
		off = next
	}
}

// readAnswers returns the offset behind the answers, or 0 if they can't all be read.
func (m *Message) readAnswers(data []byte, off int) int {
	for i := range m.Records {
		if off >= len(data) { // no error to UnpackRR
			if !m.Partial {
				m.Defect = fmt.Sprintf("answer record %d: beyond the message", i+1)
			}
			return 0
		}
		rr, next, err := dns.UnpackRR(data, off)
		if err != nil {
			if !m.Partial {
				m.Defect = fmt.Sprintf("answer record %d: %v", i+1, err)
			}
			return 0
		}
		off = next
		if len(m.Answers) == maxAnswers {
			m.Partial = true
			return 0
		}
		switch rr := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				m.Answers = append(m.Answers, a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				m.Answers = append(m.Answers, a)
			}
		}
	}
	return off
}

// questionDefect says what is wrong with the question at off, walking its
// labels as RFC 1035 section 4.1.4 has them.
func questionDefect(data []byte, off int) string {
	total := 0
	for jumps := 0; ; {
		if off >= len(data) {
			return "question runs beyond the message"
		}
		n := int(data[off])
		switch n & 0xc0 {
		case 0x00:
			if n == 0 {
				return "question runs beyond the message"
			}
			if total += n + 1; total > 254 {
				return "name longer than 255 bytes"
			}
			off += n + 1
		case 0xc0:
			if off+1 >= len(data) {
				return "question runs beyond the message"
			}
			if jumps++; jumps > 32 {
				return "compression loop in the name"
			}
			off = n&0x3f<<8 | int(data[off+1])
		default: // 01 and 10 are no label types any more (RFC 6891 section 5): a length of 64 and up
			return fmt.Sprintf("label of %d bytes, at most 63 are allowed", n)
		}
	}
}

func be16(b []byte, off int) uint16 { return uint16(b[off])<<8 | uint16(b[off+1]) }
